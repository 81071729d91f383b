"""Coherence of middle blocks: which patches are alike there, and which block shows it best."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor


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


def coherence_auc(similarity: np.ndarray, labels: np.ndarray, void: int = -1) -> float:
    """How well a similarity tells whether two patches show the same class: area under the ROC curve.

    Args:
        similarity: Symmetric (N, N).
        labels: Class of each patch (N,).
        void: Label of patches that are left out.

    Returns:
        0..1, 0.5 for no relation; NaN where all pairs are of one kind.
    """
    valid = np.flatnonzero(labels != void)
    first, second = np.triu_indices(len(valid), k=1)
    same = labels[valid][first] == labels[valid][second]
    if not same.size or same.all() or not same.any():
        return float("nan")
    return float(roc_auc_score(same, similarity[np.ix_(valid, valid)][first, second]))


def patch_classes(labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Label that most pixels of each patch have, row by row (N,); the smallest of several.

    Args:
        labels: Class of each pixel (H, W).
        grid: Patch rows and columns that the picture was divided into.
    """
    rows = np.minimum(np.arange(labels.shape[0]) * grid[0] // labels.shape[0], grid[0] - 1)
    columns = np.minimum(np.arange(labels.shape[1]) * grid[1] // labels.shape[1], grid[1] - 1)
    cell = (rows[:, None] * grid[1] + columns).ravel()
    names, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((grid[0] * grid[1], len(names)), dtype=np.int64)
    np.add.at(counts, (cell, index.ravel()), 1)
    return names[counts.argmax(axis=1)]
