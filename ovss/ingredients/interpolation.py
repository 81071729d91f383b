"""Bilinear interpolation along one axis, written out: which two samples a place lies between, and how near to each."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["bilinear_matrix"]


def bilinear_taps(target: int, source: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two samples that each of `target` pixels lies between (align_corners False, no antialiasing).

    Returns:
        Indices of the lower and of the upper sample and the upper one's weight (float64), each (target,).
    """
    position = ((torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=source - 1)
    return low, (low + 1).clamp(max=source - 1), position - low


def bilinear_matrix(target: int, source: int) -> Float[Tensor, "target source"]:
    """Weights of bilinear interpolation along one axis as a matrix, float64; rows sum to 1."""
    low, high, weight = bilinear_taps(target, source)
    rows = torch.arange(target)
    matrix = torch.zeros(target, source, dtype=torch.float64)
    matrix.index_put_((rows, low), 1 - weight, accumulate=True)
    matrix.index_put_((rows, high), weight, accumulate=True)
    return matrix
