"""Anomaly tokens: finding the patches that stopped describing their place, and repairing them (SC-CLIP)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.errors import InputError
from ovss.ingredients.places import sum_around

DETECTORS = ("kdist", "lof", "norm")
_LARGEST_NORMS = 10
# Keeps ratios finite where tokens coincide; scikit-learn adds the same amount to its reachabilities.
_TINY = 1e-10

_TIE = 1e-5
"""Relative difference of outlier factors below which they count as equal on grids where all patches are neighbours."""


def squared_distances(x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N N"]:
    """Squared Euclidean distances between the tokens of each image, in float32, with a diagonal of zeros.

    Tokens are centred first: it changes no distance and spares the digits that a common offset would take.
    """
    x = x.float()
    x = x - x.mean(dim=1, keepdim=True)
    norms = x.square().sum(-1)
    distances = torch.baddbmm(norms[:, :, None] + norms[:, None, :], x, x.mT, alpha=-2).clamp_min(0)
    distances.diagonal(dim1=1, dim2=2).zero_()
    return distances


def _nearest(x: Float[Tensor, "B N D"], neighbours: int) -> tuple[Tensor, Tensor]:
    """Squared distances to, and numbers of, each token's nearest neighbours but itself: (B, N, k), nearest first."""
    tokens = x.shape[1]
    if tokens < 2:
        raise InputError("anomaly detection needs a grid of at least 2 patches")
    distances = squared_distances(x)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distances.topk(min(neighbours, tokens - 1), dim=-1, largest=False)


def _gather(values: Float[Tensor, "B N"], index: Tensor) -> Float[Tensor, "B N k"]:
    return values.gather(1, index.flatten(1)).view(index.shape)


def kdist_scores(x: Float[Tensor, "B N D"], neighbours: int = 30) -> Float[Tensor, "B N"]:
    """SC-CLIP's outlier score: mean over a token's neighbours j of delta_i / delta_j.

    delta is the squared distance to the k-th neighbour. The authors call it LOF; with a point's own k-distance as
    reachability, LOF reduces to this ratio.

    Args:
        x: Patch tokens.
        neighbours: Neighbours k; at most N - 1 are used.

    Raises:
        InputError: The grid has a single patch.
    """
    distances, index = _nearest(x, neighbours)
    delta = distances[..., -1]  # (B, N)
    return delta * _gather(delta.clamp_min(_TINY).reciprocal(), index).mean(-1)


def lof_scores(x: Float[Tensor, "B N D"], neighbours: int = 30) -> Float[Tensor, "B N"]:
    """Local outlier factor (Breunig et al., SIGMOD 2000): about 1 inside a cluster, larger outside.

    Args:
        x: Patch tokens.
        neighbours: Neighbours k; at most N - 1 are used.

    Raises:
        InputError: The grid has a single patch.
    """
    squares, index = _nearest(x, neighbours)
    distances = squares.sqrt()
    reach = torch.maximum(distances, _gather(distances[..., -1], index))  # (B, N, k)
    density = (reach.mean(-1) + _TINY).reciprocal()
    return _gather(density, index).mean(-1) / density


def find_anomalies(
    x: Float[Tensor, "B N D"],
    detector: str = "kdist",
    neighbours: int = 30,
    contamination: float = 0.05,
    largest: int = _LARGEST_NORMS,
) -> Bool[Tensor, "B N"]:
    """Which patch tokens are anomalous, per image.

    Args:
        x: Patch tokens.
        detector: "kdist" (the authors' score), "lof" (the textbook's) or "norm" (the ten largest norms, as in the
            authors' first release).
        neighbours: Neighbours k of the first two.
        contamination: Fraction of the tokens that the first two call anomalous: those whose score lies above the
            quantile 1 - contamination of their image.
        largest: Tokens that "norm" finds.
    """
    if detector == "norm":
        return _largest(x.float().norm(dim=-1), largest)
    scores = {"kdist": kdist_scores, "lof": lof_scores}[detector](x, neighbours)
    # Where all patches are neighbours, the two farthest apart have equal factors, and rounding must not decide.
    # On larger grids the comparison is the authors', whose code does not run on smaller ones.
    tie = _TIE if x.shape[1] - 1 <= neighbours else 0.0
    return scores > torch.quantile(scores, 1 - contamination, dim=-1, keepdim=True) * (1 + tie)


def _largest(values: Float[Tensor, "B N"], count: int) -> Bool[Tensor, "B N"]:
    top = values.topk(min(count, values.shape[1]), dim=-1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, top, True)


def cls_outliers(
    attention: Float[Tensor, "B T T"], gain: float, largest: int = _LARGEST_NORMS, prefix: int = 1
) -> Bool[Tensor, "B N"]:
    """Patches that CLS looks at more than they look at themselves (SFP).

    Args:
        attention: Attention of a block, heads averaged, CLS first.
        gain: Factor of the attention of CLS.
        largest: At most so many, those that CLS looks at most.
        prefix: Number of tokens in front of the patches.
    """
    looked_at = gain * attention[:, 0, prefix:]
    candidates = looked_at > attention.diagonal(dim1=1, dim2=2)[:, prefix:]
    return candidates & _largest(looked_at.masked_fill(~candidates, -torch.inf), largest)


def repair(x: Float[Tensor, "B N D"], anomalous: Bool[Tensor, "B N"], grid: tuple[int, int]) -> Float[Tensor, "B N D"]:
    """Replace anomalous tokens by the mean of their neighbours (SC-CLIP).

    Args:
        x: Patch tokens.
        anomalous: Tokens to be replaced.
        grid: Patch rows and columns.

    Returns:
        Tokens where each anomalous one is the mean of those of its eight neighbours that lie inside the grid and are
        not anomalous; without any such neighbour it stays as it is.
    """
    sound = (~anomalous).to(x.dtype)[..., None]  # (B, N, 1)
    sums = sum_around(torch.cat([x * sound, sound], dim=-1), grid)  # (B, N, D + 1)
    total, count = sums[..., :-1], sums[..., -1:]
    return torch.where(anomalous[..., None] & (count > 0), total / count.clamp_min(1), x)
