"""Where attention ends up when it is followed for ever: the stationary vector of its map as a measure of sinks."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.attention import attention
from ovss.analysis.frames import choose_blocks, join, tidy
from ovss.backbone import Tokens
from ovss.errors import InputError

_ROUNDS = 64
"""Squarings at most; 2**64 steps are enough for any map whose entries are positive."""


def stationary(maps: Float[Tensor, "*B T T"]) -> Float[Tensor, "*B T"]:
    """The share of visits that each token gets from a walk that follows attention for ever.

    It is the vector p with p A = p and sum 1. The map is squared until its rows are equal, in float64.

    Args:
        maps: Attention, rows summing to 1, with positive entries (any softmax has).

    Raises:
        InputError: A row does not sum to 1, or the walk has no single end.

    Example:
        >>> stationary(torch.tensor([[0.9, 0.1], [0.3, 0.7]])).tolist()
        [0.75, 0.25]
    """
    power = maps.double()
    if (power.sum(-1) - 1).abs().max() > 1e-3:
        raise InputError("rows of attention must sum to 1")
    for _ in range(_ROUNDS):
        power = power / power.sum(-1, keepdim=True)
        if (power - power[..., :1, :]).abs().max() < 1e-9:
            return power.mean(-2).to(maps.dtype)
        power = power @ power
    raise InputError("attention has no single stationary vector: some tokens never reach others")


@torch.inference_mode()
def sink_statistics(
    tokens: Tokens, layers: Iterable[int] | None = None, *, images: Sequence[object] | None = None
) -> pd.DataFrame:
    """How much of attention ends at single tokens, per block and head.

    Args:
        tokens: One backbone pass.
        layers: Blocks; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame of the measures sink_patch (largest share of a patch in the stationary vector, times the number of
        tokens: 1 is none) and sink_cls (the same of the class token; NaN without one).
    """
    frames = []
    for layer in choose_blocks(tokens, layers):
        share = stationary(attention(tokens, layer))  # (B, H, T)
        times = share * share.shape[-1]
        cls = times[..., 0] if tokens.backbone.class_token else torch.full(times.shape[:2], torch.nan)
        frames.append(tidy("sink_patch", times[..., tokens.prefix :].amax(-1), layer, images))
        frames.append(tidy("sink_cls", cls, layer, images))
    return join(frames)
