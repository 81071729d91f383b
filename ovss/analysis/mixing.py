"""Which patches each method lets a patch look at in the last block: the attention that replaces the model's own."""

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.attention import between_patches
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.methods import Method, list_methods, method_class

__all__ = ["method_attention"]


def has_attention(method: Method | type[Method]) -> bool:
    """Whether a method, or all methods of a class, define `mix`: one attention map in the last block."""
    kind = method if isinstance(method, type) else type(method)
    return kind.mix is not Method.mix


METHODS = tuple(name for name in list_methods() if has_attention(method_class(name)))
"""Methods whose last block is one attention map among the tokens of the image."""


@torch.inference_mode()
def method_attention(tokens: Tokens, method: Method) -> Float[Tensor, "B H N N"]:
    """Attention among patches that a method uses in the last block, rows scaled to sum 1.

    Mixing is linear in the values, so the attention is the method's own mix of the identity.

    Args:
        tokens: One backbone pass.
        method: Any method that defines `mix`. Where more than one pass goes through the last block (`scclip`,
            `compose`), the map is that of the first one.

    Returns:
        One map per head, float32; equal maps where a method shares its map among heads.

    Raises:
        InputError: The method's last block is not a single attention map.
    """
    if not has_attention(method):
        raise InputError(
            f"method '{method.name}' has no single attention map in its last block; {', '.join(METHODS)} have"
        )
    size = tokens.grid[0] * tokens.grid[1] + (0 if method.patches_only else tokens.prefix)
    identity = torch.eye(size, dtype=tokens.backbone.dtype, device=tokens.backbone.device)
    maps = method.mix(tokens, identity.expand(tokens.batch, tokens.backbone.heads, size, size)).float()
    return maps / maps.sum(-1, keepdim=True) if method.patches_only else between_patches(maps, tokens.prefix)
