"""The model: one pass through CLIP's image tower and its hidden states; the only room that knows open_clip and timm.

Words used here:
    block: One transformer block of the image tower, numbered from 1 to L.
    state: Residual stream between blocks, (B, 1 + N, D); state 0 is the input of block 1, state L the last output.
    token: One row of a state; token 0 is CLS, the others are the N = h * w patches, row by row of the grid.
    grid: Patch rows and columns (h, w).
    read-out: `ln_post` and the projection, from a state into the joint image-text space of width E.
    B, T, D, E, d: windows, tokens 1 + N, width of a state, width of the joint space, width of a head.
"""

from ovss.backbone.backbone import Backbone
from ovss.backbone.block import Block
from ovss.backbone.companion import Companion, load_companion
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
    "Tokens",
    "backbone_from",
    "load_backbone",
    "load_companion",
]
