"""Patches that massive channels distract, blended with their neighbourhood after every block (RF-CLIP)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
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
        above = patches - patches.amin(-1, keepdim=True)
        share = above[..., list(self.channels)].amax(-1, keepdim=True) / above.sum(-1, keepdim=True)  # (B, N, 1)
        mean = F.avg_pool2d(patches.mT.unflatten(-1, grid), 3, stride=1, padding=1).flatten(2).mT  # always over 9
        blended = torch.where(share > self.sigma / x.shape[-1], torch.lerp(patches, mean, self.alpha), patches)
        return torch.cat([x[:, :1], blended.to(x.dtype)], dim=1)
