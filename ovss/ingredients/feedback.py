"""Semantic feedback of ResCLIP (CVPR 2025): which patches a first segmentation gives one label."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovss.ingredients.pamr import pamr
from ovss.ingredients.regions import best_query

_ITERATIONS, _DILATIONS = 10, (8, 16)
"""Of PAMR on the first segmentation (authors' code)."""


def first_labels(
    scores: Float[Tensor, "B Q h w"], windows: Float[Tensor, "B 3 H W"], patch: int, scale: float, threshold: float
) -> Int[Tensor, "B h w"]:
    """Query that most pixels of each patch have in a first segmentation of the windows, the smallest index of equals.

    Args:
        scores: Cosines of the queries at patch resolution; enlarged bilinearly and refined by PAMR.
        windows: Normalised windows.
        patch: Side of a patch in pixels.
        scale: Factor of the cosines in the softmax over queries.
        threshold: Pixels whose best probability is below it have query 0.
    """
    height, width = (cells * patch for cells in scores.shape[-2:])
    labels = []
    for window, one in zip(windows, scores, strict=True):
        enlarged = F.interpolate(one[None], size=window.shape[-2:], mode="bilinear", align_corners=False)[0]
        refined = pamr(window, enlarged, _ITERATIONS, _DILATIONS)
        chance, query = best_query((scale * refined).softmax(dim=0))
        query = query.masked_fill(chance < threshold, 0)[:height, :width]
        labels.append(query.unfold(0, patch, patch).unfold(1, patch, patch).flatten(2).mode(dim=-1).values)
    return torch.stack(labels)


def feedback_attention(labels: Int[Tensor, "B h w"], sigma: float, prefix: int = 1) -> Float[Tensor, "B T T"]:
    """Agreement of patches in their label, largest value 1 in each image; zero where no patch is compared.

    Two patches of one label agree fully if all patches on the way between them have it too, else by exp(-d / D), d
    being their distance along the longer axis and D the longest of the grid. Rows are then smoothed by a Gaussian over
    the patches in row-major order, and divided by their sums.

    Args:
        labels: Label of each patch.
        sigma: Standard deviation of the Gaussian in patches; it is cut off at three of them.
        prefix: Rows and columns of zeros in front, for CLS and registers.
    """
    flat = labels.flatten(1)
    same = (flat[:, :, None] == flat[:, None, :]).float()  # (B, N, N)
    distance, connected = _connected(labels)
    decay = torch.exp(-distance / distance.max().clamp_min(1))
    agreement = torch.where(connected, same, same * decay)
    side = min(flat.shape[1], int(6 * sigma + 1))
    side += 1 - side % 2
    at = torch.arange(side, device=labels.device) - side // 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    smooth = F.conv1d(agreement.flatten(0, 1)[:, None], kernel[None, None], padding=side // 2)
    smooth = smooth.view_as(agreement)
    rows = smooth / (smooth.sum(dim=-1, keepdim=True) + 1e-8)
    return F.pad(rows / rows.amax(dim=(1, 2), keepdim=True), (prefix, 0, prefix, 0))


def _connected(labels: Int[Tensor, "B h w"]) -> tuple[Int[Tensor, "N N"], Bool[Tensor, "B N N"]]:
    """Distance of each two patches along the longer axis, and whether those on the way have the label of the first.

    The line between two patches is cut into D parts, D the longest distance of the grid, and the ends of the first d of
    them are looked at (authors' code).
    """
    height, width = labels.shape[1:]
    flat = labels.flatten(1)
    rows, columns = (torch.arange(side, device=labels.device) for side in (height, width))
    apart = [(at[:, None] - at[None, :]).abs() for at in (rows, columns)]
    distance = torch.maximum(apart[0][:, None, :, None], apart[1][None, :, None, :]).flatten(2).flatten(0, 1)
    longest = max(height, width) - 1
    connected = torch.ones(len(labels), *distance.shape, dtype=torch.bool, device=labels.device)
    for step, share in enumerate(torch.linspace(0, 1, longest + 1, device=labels.device)):
        row, column = ((at[:, None] * (1 - share) + at[None, :] * share).round().long() for at in (rows, columns))
        passed = (row[:, None, :, None] * width + column[None, :, None, :]).flatten(2).flatten(0, 1)  # (N, N)
        connected &= (flat[:, passed] == flat[:, :, None]) | (step > distance)
    return distance, connected
