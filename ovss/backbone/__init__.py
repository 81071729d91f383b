"""The model: one pass through CLIP's image tower and its hidden states; the only room that knows open_clip and timm.

Words used here:
    block: One transformer block of the image tower, numbered from 1 to L.
    state: Residual stream between blocks, (B, T, D); state 0 is the input of block 1, state L the last output.
    token: One row of a state: prefix tokens first, then the N = h * w patches, row by row of the grid.
    prefix: Class token (CLS) and registers, as far as a model has them: 1 in CLIP, 0 in SigLIP.
    grid: Patch rows and columns (h, w).
    dense feature: What the model would say about an image that consists of one token alone, in the joint image-text
        space of width E; the read-out takes a state there, token by token.
    pooled answer: What the model says about the whole image: read from CLS, from an attention pool or from an average.
    B, T, D, E, d: windows, tokens prefix + N, width of a state, width of the joint space, width of a head.
"""

from ovss.backbone.backbone import Backbone
from ovss.backbone.block import Block
from ovss.backbone.catalogue import ModelFacts, describe_model, list_models
from ovss.backbone.companion import Companion, load_companion
from ovss.backbone.conform import conformance
from ovss.backbone.joined import JoinedTokens
from ovss.backbone.loading import backbone_from, load_backbone
from ovss.backbone.positions import POSITION_RULES
from ovss.backbone.tokens import Tokens

__all__ = [
    "POSITION_RULES",
    "Backbone",
    "Block",
    "Companion",
    "JoinedTokens",
    "ModelFacts",
    "Tokens",
    "backbone_from",
    "conformance",
    "describe_model",
    "list_models",
    "load_backbone",
    "load_companion",
]
