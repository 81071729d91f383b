"""From patches to CLIPtrase's clusters: their self-correlation, denoised, clustered and smoothed."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from sklearn.cluster import DBSCAN
from torch import Tensor

from ovss.backbone.devices import to_device, to_host

DENOISERS = ("code", "dice")
_UPSAMPLING = 4
_MEDIAN_SIZE = 2 * _UPSAMPLING - 1
_CHUNK_BYTES = 2**26
"""Bytes of pixels whose median is taken at a time."""
_PUBLISHED_CLUSTERING = {(14, 14): (0.7, 3), (21, 21): (1.1, 7)}


def self_correlation(qkv: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, "B T T"]:
    """Mean over heads of [cos(q, q) + cos(k, k) + cos(v, v)] / 3, in float32.

    A mean of cosines is one product of the normalised vectors laid side by side.

    Args:
        qkv: Queries, keys and values of a block, each (B, heads, T, d).
    """
    units = [F.normalize(part.float(), dim=-1).transpose(1, 2).flatten(2) for part in qkv]
    rows = torch.cat(units, dim=-1)  # (B, T, 3 * heads * d)
    return rows @ rows.mT / (3 * qkv[0].shape[1])


def denoise(correlation: Float[Tensor, "B T T"], rule: str = "code", prefix: int = 1) -> Float[Tensor, "B N N"]:
    """Patch correlations less what CLS correlates with, clamped at zero.

    Args:
        correlation: Self-correlation with CLS in front.
        rule: "code": CLS's row is subtracted from every patch's row. "dice": it is subtracted in proportion to the
            soft Dice coefficient of the two rows, so that a patch gives up the more, the more it looks like CLS.
        prefix: Number of tokens in front of the patches.
    """
    cls, patches = correlation[:, :1, prefix:], correlation[:, prefix:, prefix:]
    if rule == "code":
        return (patches - cls).clamp_min(0)
    a, b = patches.clamp_min(0), cls.clamp_min(0)
    overlap = 2 * (a * b).sum(-1, keepdim=True)
    dice = overlap / (a.square().sum(-1, keepdim=True) + b.square().sum(-1, keepdim=True)).clamp_min(1e-12)  # (B, N, 1)
    return (patches - dice * cls).clamp_min(0)


def clustering_parameters(grid: tuple[int, int]) -> tuple[float, int]:
    """DBSCAN's (eps, min_samples) for a grid of N patches.

    The published pairs at 14 x 14 and 21 x 21; elsewhere the rule behind both: eps = 0.05 sqrt(N), min_samples =
    0.0156 N.
    """
    patches = grid[0] * grid[1]
    return _PUBLISHED_CLUSTERING.get(grid, (0.05 * patches**0.5, max(1, round(0.0156 * patches))))


def cluster(rows: Float[Tensor, "N N"], eps: float, min_samples: int) -> np.ndarray:
    """DBSCAN labels (N,) of the rows, Euclidean; -1 is noise."""
    return DBSCAN(eps=eps, min_samples=min_samples).fit_predict(to_host([rows])[0])


def cluster_maps(rows: Float[Tensor, "N N"], labels: np.ndarray, grid: tuple[int, int]) -> Float[Tensor, "K h w"]:
    """Mean row of each cluster as a map over the grid; noise makes none."""
    member = torch.from_numpy(labels[:, None] == np.arange(labels.max() + 1))
    members = to_device(member, rows.device).to(rows.dtype)  # (N, K)
    return (members.T @ rows / members.sum(0)[:, None]).unflatten(1, grid)


def smooth_maps(maps: Float[Tensor, "K h w"]) -> Float[Tensor, "K 4h 4w"]:
    """Maps enlarged four times bilinearly and median-filtered over 7 x 7."""
    enlarged = F.interpolate(maps[None], scale_factor=_UPSAMPLING, mode="bilinear", align_corners=False)[0]
    held = 4 * _MEDIAN_SIZE**2 * enlarged[0].numel()
    chunks = torch.from_numpy(to_host([enlarged])[0]).split(max(1, _CHUNK_BYTES // held))
    return to_device(torch.from_numpy(np.concatenate([_median(some.numpy()) for some in chunks])), maps.device)


def _median(images: np.ndarray) -> np.ndarray:
    """Median over 7 x 7 pixels of each image (K, H, W) with mirrored borders; equals scipy.ndimage.median_filter in a
    quarter of its time."""
    margin = _MEDIAN_SIZE // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_MEDIAN_SIZE, _MEDIAN_SIZE), axis=(1, 2))
    middle = _MEDIAN_SIZE**2 // 2
    return np.partition(windows.reshape(*images.shape, -1), middle, axis=-1)[..., middle]
