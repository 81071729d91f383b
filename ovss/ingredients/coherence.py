"""Coherence of middle blocks: which patches are alike there, and which block shows it best."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ovss.errors import InputError

VOID = -1
"""Class of a patch that has no ground truth."""


def coherent_pairs(similarity: Float[Tensor, "B N N"], threshold: float) -> Bool[Tensor, "B N N"]:
    """Pairs whose cosine distance is at most `threshold`; a patch is always its own pair.

    Args:
        similarity: Cosines.
        threshold: Largest cosine distance, 0..2.
    """
    kept = 1 - similarity <= threshold
    kept.diagonal(dim1=1, dim2=2).fill_(True)
    return kept


def coherent_attention(
    similarity: Float[Tensor, "B N N"], kept: Bool[Tensor, "B N N"], temperature: float
) -> Float[Tensor, "B N N"]:
    """softmax(temperature * similarity) over the kept pairs; rows sum to 1."""
    return torch.softmax((temperature * similarity).masked_fill(~kept, -torch.inf), dim=-1)


def restrict_attention(attention: Float[Tensor, "B H N N"], kept: Bool[Tensor, "B N N"]) -> Float[Tensor, "B H N N"]:
    """Attention on the kept pairs only, rows divided by what is left of them."""
    masked = attention * kept[:, None]
    return masked / masked.sum(-1, keepdim=True).clamp_min(torch.finfo(masked.dtype).tiny)


def coherence_auc(similarity: np.ndarray, labels: np.ndarray) -> float:
    """How well a similarity predicts whether two patches show the same class: area under the ROC curve.

    Args:
        similarity: Symmetric (N, N).
        labels: Class of each patch (N,); patches of class -1 are left out.

    Returns:
        0..1, 0.5 for no relation; NaN where all pairs are of one kind.
    """
    valid = np.flatnonzero(labels != VOID)
    first, second = np.triu_indices(len(valid), k=1)
    same = labels[valid][first] == labels[valid][second]
    if not same.size or same.all() or not same.any():
        return float("nan")
    return float(roc_auc_score(same, similarity[np.ix_(valid, valid)][first, second]))


def patch_labels(labels: np.ndarray, grid: tuple[int, int], classes: int) -> np.ndarray:
    """Ground truth per patch: the class that most of its pixels have.

    Args:
        labels: Class indices (H, W) of the image the patches cover; anything outside 0..classes - 1 is void.
        grid: Patch rows and columns (h, w).
        classes: Number of classes.

    Returns:
        Class indices (h, w), int64; -1 where no pixel of the patch has a class. Ties go to the lower index.

    Raises:
        InputError: The label map is smaller than the grid.
    """
    height, width = labels.shape
    h, w = grid
    if height < h or width < w:
        raise InputError(f"labels of {width}x{height} pixels are smaller than the grid of {w}x{h} patches")
    cell = (np.arange(height) * h // height)[:, None] * w + np.arange(width) * w // width  # (H, W)
    valid = (labels >= 0) & (labels < classes)
    flat = cell[valid] * classes + labels[valid].astype(np.int64)
    counts = np.bincount(flat, minlength=h * w * classes).reshape(h * w, classes)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), VOID).reshape(h, w)
