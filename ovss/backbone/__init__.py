"""The model: one pass through CLIP's tower, its hidden states kept; the only room that knows open_clip and timm."""

from ovss.backbone.backbone import POSITION_RULES, Backbone, Block, Tokens, load_backbone
from ovss.backbone.companion import Companion, load_companion

__all__ = ["POSITION_RULES", "Backbone", "Block", "Companion", "Tokens", "load_backbone", "load_companion"]
