"""Similarity maps between the patches of an image, and what SC-CLIP does with them."""

import torch
from jaxtyping import Float
from torch import Tensor

SHARPNESS = 3.0


def cosine_map(x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N N"]:
    """Cosine of every pair of tokens of an image, in float32."""
    x = torch.nn.functional.normalize(x.float(), dim=-1)
    return x @ x.mT


def keep_similar(similarity: Float[Tensor, "B N N"], beta: float) -> Float[Tensor, "B N N"]:
    """Similarities of at least `beta`; the rest is zero."""
    return torch.where(similarity >= beta, similarity, 0)


def aggregation_weights(similarity: Float[Tensor, "B N N"], beta: float) -> Float[Tensor, "B N N"]:
    """Rows of weights from the similarities of at least `beta`; the rest is zero (SC-CLIP).

    Args:
        similarity: Cosines.
        beta: Threshold.

    Returns:
        Rows divided by (their sum + 1e-6).
    """
    kept = keep_similar(similarity, beta)
    return kept / (kept.sum(-1, keepdim=True) + 1e-6)


def similarity_attention(
    similarity: Float[Tensor, "B N N"], sharpness: float = SHARPNESS, share: float = 1.0
) -> Float[Tensor, "B N N"]:
    """Attention from similarities alone: softmax(sharpness (M - share mean(M))) over the entries that are not negative.

    Args:
        similarity: Cosines M; the mean is that of each image.
        sharpness: Factor of what exceeds the mean; 3 in ProxyCLIP and SC-CLIP.
        share: How much of the mean is taken off: 1.2 in ProxyCLIP, 1 in SC-CLIP.

    Returns:
        Rows that sum to 1. A token always attends to itself.
    """
    excess = similarity - share * similarity.mean(dim=(1, 2), keepdim=True)
    below = excess < 0
    # Where all tokens agree, all of a row can be below zero, which would leave it without any entry.
    below.diagonal(dim1=1, dim2=2).fill_(False)
    return torch.softmax((sharpness * excess).masked_fill(below, -torch.inf), dim=-1)
