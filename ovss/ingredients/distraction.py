"""Patches that massive channels distract, blended with their neighbourhood after every block (RF-CLIP)."""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

OPENAI_CHANNELS = {
    (12, 768, 16): (4, 162, 189, 326, 429, 474, 633, 713),
    (24, 1024, 14): (250, 261, 437, 650, 720, 779, 936, 1005),
}
"""Massive channels of OpenAI's ViT-B/16 and ViT-L/14, by depth, width and patch size (authors' code)."""


@dataclass(frozen=True)
class Blur:
    """What is done to the output of each block: distracted patches are blended with their neighbourhood.

    A patch is distracted where one of the channels holds more than sigma / D of what the patch holds above its least
    channel.
    """

    channels: tuple[int, ...]
    sigma: float
    alpha: float

    def __call__(self, x: Float[Tensor, "B T D"], grid: tuple[int, int]) -> Float[Tensor, "B T D"]:
        """States with distracted patches blended; CLS and the others stay."""
        patches = x[:, 1:].float()
        # The share of a channel needs no array of all shares: least, largest and sum of the channels say it.
        least = patches.amin(-1)
        largest = patches[..., list(self.channels)].amax(-1)
        share = (largest - least) / (patches.sum(-1) - x.shape[-1] * least)  # (B, N)
        image, place = (share > self.sigma / x.shape[-1]).nonzero(as_tuple=True)
        if not len(image):
            return x
        blended = torch.lerp(patches[image, place], neighbourhood(patches, grid, image, place), self.alpha)
        result = x.clone()
        result[image, place + 1] = blended.to(x.dtype)
        return result


def neighbourhood(
    patches: Float[Tensor, "B N D"], grid: tuple[int, int], image: Int[Tensor, " M"], place: Int[Tensor, " M"]
) -> Float[Tensor, "M D"]:
    """Mean of the 3 x 3 patches around some of them; outside the grid lie zeros, so that it is always over 9."""
    total = torch.zeros_like(patches[image, place])
    for dy, dx in product((-1, 0, 1), repeat=2):
        y, x = place // grid[1] + dy, place % grid[1] + dx
        inside = (y >= 0) & (y < grid[0]) & (x >= 0) & (x < grid[1])
        rows = inside.nonzero().squeeze(1)
        total[rows] += patches[image[rows], y[rows] * grid[1] + x[rows]]
    return total / 9
