"""What SC-CLIP and the methods built on it share: their blocks, the weight of CLS, the second pass, aggregation."""

from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import aggregation_weights, cosine_map
from ovss.methods.base import scale_block
from ovss.methods.parameters import parameter

DEEP = 24
LAYERS = (
    "last block; blocks 9 (similarities), 4 (post-aggregation) and 4..10 (fused) of 12; 17, 7 and 9..19 of 24; at "
    "another depth the numbers for 12 are scaled; CLS weighs 0.3 below 24 blocks, 0.1 from there on"
)


def calibration_blocks(depth: int) -> tuple[int, int, tuple[int, ...]]:
    """Block p of the similarities, block r of the post-aggregation and the fused blocks at a depth."""
    if depth == DEEP:
        return 17, 7, tuple(range(9, 20))
    fused = range(scale_block(4, depth), scale_block(10, depth) + 1)
    return scale_block(9, depth), scale_block(4, depth), tuple(fused)


def cls_weight_parameter() -> Any:
    """The hyperparameter `w_cls`."""
    return parameter(
        None, "weight of the CLS token added to all patches; None: 0.3, from 24 blocks on 0.1", "authors' code"
    )


def cls_weight(given: float | None, depth: int) -> float:
    """Weight of the CLS token that is added to all patches, where None leaves it to the depth."""
    return given if given is not None else (0.3 if depth < DEEP else 0.1)


def added_cls(
    method: str, tokens: Tokens, given: float | None, *states: Float[Tensor, "B T D"]
) -> Float[Tensor, "B 1 D"] | float:
    """What is added to every patch: the weight times CLS, summed over some states; 0 where CLS weighs nothing.

    Args:
        method: Name of the method.
        tokens: One backbone pass.
        given: Its hyperparameter `w_cls`.
        states: States that CLS is taken from.

    Raises:
        InputError: The model has no class token, and its weight is not 0.
    """
    weight = cls_weight(given, tokens.depth)
    if tokens.backbone.class_token:
        return weight * torch.stack([state[:, :1].float() for state in states]).sum(0)
    if weight:
        raise InputError(
            f"{method} adds the class token to every patch, and {tokens.backbone.name} has none; w_cls=0 leaves it out"
        )
    return 0.0


def fuse(tokens: Tokens, blocks: tuple[int, ...]) -> Float[Tensor, "B T D"]:
    """Sum of the outputs of some blocks, float32."""
    return tokens.shared(("fuse", blocks), lambda: reduce(torch.add, (tokens.hidden(n).float() for n in blocks)))


def fused_kv(tokens: Tokens, blocks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Keys and values of the last block on the patches of `fuse`, (B, heads, N, d) each."""
    patches = fuse(tokens, blocks)[:, tokens.prefix :].to(tokens.backbone.dtype)
    return tokens.shared(("fused kv", blocks), lambda: tokens.block(tokens.depth).kv(patches))


def merge_both(tokens: Tokens, first: Float[Tensor, "B H N d"], second: Float[Tensor, "B H N d"]) -> Tensor:
    """Sum of what the last block merges from both passes (B, N, D), float32: twice the merge of their mean."""
    return 2 * tokens.block(tokens.depth).merge((first + second) / 2).float()


def post_aggregate(tokens: Tokens, y: Float[Tensor, "B N D"], block: int, beta: float) -> Float[Tensor, "B N D"]:
    """Patches averaged with those that were alike in an early block, in the number format of the model."""
    weights = tokens.shared(
        ("aggregation", block, beta), lambda: aggregation_weights(cosine_map(tokens.patches(block)), beta)
    )
    return (weights @ y).to(tokens.backbone.dtype)


def finish_both(
    method: str,
    tokens: Tokens,
    first: Float[Tensor, "B H N d"],
    second: Float[Tensor, "B H N d"],
    w_cls: float | None,
    beta: float,
) -> Float[Tensor, "B N D"]:
    """Patches from the mixed values of both passes on: merged, the CLS token of each pass added, post-aggregated.

    Raises:
        InputError: See `added_cls`.
    """
    _, post, fused = calibration_blocks(tokens.depth)
    cls = added_cls(method, tokens, w_cls, tokens.hidden(tokens.depth - 1), fuse(tokens, fused))
    return post_aggregate(tokens, merge_both(tokens, first, second) + cls, post, beta)
