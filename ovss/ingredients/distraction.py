"""RF-CLIP: patches that massive channels distract are blended after each block, gathered attention is redistributed."""

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone import Backbone, Block
from ovss.backbone.block import QKV
from ovss.errors import InputError
from ovss.ingredients.attention import attention_map

_LEFT = 0.6
"""Share of its attention that a column keeps where attention gathers (authors' code)."""
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

    @classmethod
    def of(
        cls, model: Backbone, channels: tuple[int, ...] | None, sigma: float, alpha: float, refocus: float | None
    ) -> "Blur":
        """With the massive channels of a model, where they are published and none are given.

        Raises:
            InputError: No channels are given for weights whose massive channels are unknown, or one is not there.
        """
        published = OPENAI_CHANNELS.get((model.depth, model.width, model.patch_size), ())
        channels = channels or (published if model.pretrained == "openai" else ())
        if not channels:
            raise InputError(f"rfclip: the massive channels of '{model.name}' are unknown; give channels=(...)")
        if max(channels) >= model.width:
            raise InputError(f"rfclip: channels={max(channels)} is outside 0..{model.width - 1} of '{model.name}'")
        return cls(channels, sigma, alpha) if refocus is None else Refocus(channels, sigma, alpha, refocus)

    def __call__(self, x: Float[Tensor, "B T D"], grid: tuple[int, int]) -> Float[Tensor, "B T D"]:
        """States with distracted patches blended; all other tokens stay."""
        prefix = x.shape[1] - grid[0] * grid[1]
        patches = x[:, prefix:].float()
        # The share of a channel needs no array of all shares: least, largest and sum of the channels say it.
        least = patches.amin(-1)
        largest = patches[..., list(self.channels)].amax(-1)
        share = (largest - least) / (patches.sum(-1) - x.shape[-1] * least)  # (B, N)
        image, place = (share > self.sigma / x.shape[-1]).nonzero(as_tuple=True)
        if not len(image):
            return x
        blended = torch.lerp(patches[image, place], neighbourhood(patches, grid, image, place), self.alpha)
        result = x.clone()
        result[image, place + prefix] = blended.to(x.dtype)
        return result


@dataclass(frozen=True)
class Refocus(Blur):
    """`Blur`, and attention is redistributed in all blocks but the last, see `redistribute`."""

    refocus: float

    def run(
        self, block: Block, x: Float[Tensor, "B T D"], number: int, depth: int, qkv: QKV | None = None
    ) -> Float[Tensor, "B T D"]:
        """A block, before its output is blended."""
        if number == depth:
            return block.forward(x, qkv)
        qkv = qkv or block.qkv(x)
        maps = redistribute(attention_map(qkv, "qk"), self.refocus)
        x = x + block.merge(maps.to(x.dtype) @ qkv[2])
        return x + block.ffn(x)


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


def redistribute(maps: Float[Tensor, "B H T T"], threshold: float) -> Float[Tensor, "B H T T"]:
    """Attention among patches, head by head, taken in part from the patches where it gathers.

    Args:
        maps: Attention, CLS first; its row and column stay.
        threshold: Attention gathers at a patch to which patches give more than this much, summed and divided by T. It
            is left 0.6 of that, and what is taken goes to a row's other patches in proportion to what they have.
    """
    patches = maps[..., 1:, 1:]
    gathers = patches.sum(-2, keepdim=True) / maps.shape[-1] > threshold  # (B, H, 1, N)
    gathered, others = patches * gathers, patches * ~gathers
    taken = (1 - _LEFT) * gathered.sum(-1, keepdim=True)
    result = maps.clone()
    # Where a row has no others, the tiny amount lets what was taken vanish, as in the authors' code.
    result[..., 1:, 1:] = _LEFT * gathered + others * (1 + taken / (others.sum(-1, keepdim=True) + 1e-8))
    return result
