"""Whom each method lets a patch look at in the last block: the attention that replaces the model's own."""

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.attention import attention, between_patches
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import (
    aggregation_weights,
    attention_map,
    cosine_map,
    find_anomalies,
    gaussian_window,
    logit_bound,
    repair,
    similarity_attention,
)
from ovss.methods.base import Method
from ovss.methods.clipseg_aaai25 import ClipSegAaai25
from ovss.methods.naclip import NaClip
from ovss.methods.scclip import ScClip

_PAIRS = {"clip": ("qk",), "sclip": ("qq", "kk"), "clearclip": ("qq",), "cliptrase": ("qq", "kk", "vv")}
METHODS = (*_PAIRS, "maskclip", "naclip", "scclip", "clipseg_aaai25")
"""Methods whose last block is one attention map; the dual-path ones mix over several blocks."""


@torch.inference_mode()
def method_attention(tokens: Tokens, method: Method) -> Float[Tensor, "B H N N"]:
    """Attention among patches that a method uses in the last block, rows scaled to sum 1.

    Args:
        tokens: One backbone pass.
        method: One of `METHODS`; for `scclip` the first pass.

    Returns:
        One map per head; the head dimension is 1 where a method shares its map among heads.

    Raises:
        InputError: The method's last block is no single attention map.
    """
    if method.name in _PAIRS:
        maps = torch.stack([attention(tokens, tokens.depth, pair) for pair in _PAIRS[method.name]]).sum(0)
        return between_patches(maps)
    if method.name == "maskclip":
        size = tokens.grid[0] * tokens.grid[1]
        return torch.eye(size, device=tokens.backbone.device).expand(tokens.batch, 1, size, size)
    if isinstance(method, NaClip):
        return between_patches(_naclip(tokens, method))
    if isinstance(method, ScClip):
        return _scclip(tokens, method)
    if isinstance(method, ClipSegAaai25):
        return method.cra(tokens)
    raise InputError(f"method '{method.name}' has no single attention map in its last block; {', '.join(METHODS)} have")


def _naclip(tokens: Tokens, method: NaClip) -> Float[Tensor, "B H T T"]:
    qkv = tokens.qkv(tokens.depth)
    window = gaussian_window(tokens.grid, method.sigma, qkv[0].device)
    if method.similarity == "none":
        return torch.softmax(logit_bound(qkv)[:, None, None, None] * window, dim=-1)
    parts = dict(zip("qkv", qkv, strict=True))
    a, b = parts[method.similarity[0]].float(), parts[method.similarity[1]].float()
    logits = a * a.shape[-1] ** -0.5 @ b.mT
    return torch.softmax(logits + window if method.omega else logits, dim=-1)


def _scclip(tokens: Tokens, method: ScClip) -> Float[Tensor, "B H N N"]:
    middle = tokens.hidden(method.blocks(tokens.depth)[0])[:, 1:].float()
    patches = tokens.hidden(tokens.depth - 1)[:, 1:].float()
    if method.repair:
        anomalous = find_anomalies(patches, method.detector, method.neighbours, method.contamination)
        patches, middle = repair(patches, anomalous, tokens.grid), repair(middle, anomalous, tokens.grid)
    similarity = cosine_map(middle)
    if method.aggregate and method.aggregate_pre:
        patches = aggregation_weights(similarity, method.beta) @ patches
    maps = attention_map(tokens.block(tokens.depth).qkv(patches.to(tokens.backbone.dtype)), "kk")
    return (maps + similarity_attention(similarity)[:, None]) / 2 if method.enhance else maps
