"""Patches of several windows that lie at one place of the image, and their neighbours (GLA-CLIP)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import tally


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
    maps = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1).mT.unflatten(-1, grid)  # and who is there
    around = 9 * F.avg_pool2d(maps, 3, stride=1, padding=1) - maps
    around = around.flatten(2).mT.flatten(0, 1)
    return (same + around[:, :-1]) / (count[place][:, None] + around[:, -1:])


def _numbered(places: Int[Tensor, "N 2"]) -> Int[Tensor, " N"]:
    """A number for each patch, the same at the same place; `torch.unique` would wait for how many there are."""
    key = places[:, 0] * (places[:, 1].amax() + 1) + places[:, 1]
    ordered, order = key.sort(stable=True)
    number = F.pad(ordered[1:] != ordered[:-1], (1, 0)).cumsum(0)
    return torch.empty_like(number).scatter_(0, order, number)
