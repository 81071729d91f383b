"""Which models this package can read."""

import math
from typing import Any

from torch import nn

from ovss.errors import InputError


def check_vision_tower(model: Any, name: str) -> None:
    """Refuse models whose image embedding is not the read-out of a class token.

    Raises:
        InputError: The tower is not a vision transformer of open_clip, has no class token, pools by attention or
            averages, or uses a non-standard attention block.
    """
    visual = model.visual
    wanted = "ovss reads the class token of a plain vision transformer (ViT-B-32, ViT-B-16, ViT-L-14, ViT-H-14, ...)"
    if getattr(visual, "class_embedding", None) is None or not hasattr(visual, "transformer"):
        raise InputError(f"model '{name}' has no class token ({type(visual).__name__}); {wanted}")
    if getattr(visual, "attn_pool", None) is not None:
        raise InputError(f"model '{name}' pools by attention instead of reading its class token; {wanted}")
    if getattr(visual, "pool_type", "tok") != "tok":
        raise InputError(f"model '{name}' pools by '{visual.pool_type}' instead of reading its class token; {wanted}")
    if any(not isinstance(block.attn, nn.MultiheadAttention) for block in visual.transformer.resblocks):
        raise InputError(f"model '{name}' has a non-standard attention block; {wanted}")
    if math.prod(visual.grid_size) + 1 != len(visual.positional_embedding):
        raise InputError(f"model '{name}' has a position table of unexpected length; {wanted}")
