"""The model: one pass through CLIP's image tower, its hidden states kept; the only room that knows open_clip."""

from ovss.backbone.backbone import POSITION_RULES, Backbone, Block, Tokens, load_backbone

__all__ = ["POSITION_RULES", "Backbone", "Block", "Tokens", "load_backbone"]
