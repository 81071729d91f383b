"""Neighbours of patches, and patches of several windows that lie at one place of the image (GLA-CLIP)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import tally


def sum_around(x: Float[Tensor, "B N D"], grid: tuple[int, int]) -> Float[Tensor, "B N D"]:
    """Sum over each patch and those of its eight neighbours that lie inside the grid.

    Args:
        x: Patches, row-major.
        grid: Patch rows and columns.
    """
    # Sums of whole rows of memory; pooling would have to bring the features to the front and back.
    cells = F.pad(x.unflatten(1, grid), (0, 0, 1, 1, 1, 1))  # (B, h + 2, w + 2, D)
    rows = cells[:, :-2] + cells[:, 1:-1] + cells[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]).flatten(1, 2)


def surroundings(
    x: Float[Tensor, "B N D"], grid: tuple[int, int], places: Int[Tensor, "BN 2"]
) -> Float[Tensor, "BN D"]:
    """Mean over the patches at the same place of the image in any window and the neighbours in the same window.

    Args:
        x: Patches of the windows of one image.
        grid: Patch rows and columns of a window.
        places: First pixel (y, x) of each patch; two patches are at one place only where it is the same.
    """
    flat, place = x.flatten(0, 1), _numbered(places)
    count = tally(place, len(place))
    same = torch.zeros_like(flat).index_add_(0, place, flat)[place]
    counted = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)  # and who is there
    around = (sum_around(counted, grid) - counted).flatten(0, 1)
    return (same + around[:, :-1]) / (count[place][:, None] + around[:, -1:])


def _numbered(places: Int[Tensor, "N 2"]) -> Int[Tensor, " N"]:
    """A number for each patch, the same at the same place; `torch.unique` would wait for how many there are."""
    key = places[:, 0] * (places[:, 1].amax() + 1) + places[:, 1]
    ordered, order = key.sort(stable=True)
    number = F.pad(ordered[1:] != ordered[:-1], (1, 0)).cumsum(0)
    return torch.empty_like(number).scatter_(0, order, number)
