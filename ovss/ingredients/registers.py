"""Register neurons and a token that takes what they write: a register at test time (Jiang et al., 2025)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Backbone, Block
from ovss.backbone.block import QKV
from ovss.errors import InputError


@dataclass(frozen=True)
class Register:
    """A pass with one token more, behind CLS, on which register neurons fire in the place of the patches.

    In the FFN the token is given the largest activation that a neuron has on any token of the image; on patches the
    neuron is silenced, on CLS it stays as it is.

    Attributes:
        neurons: Block (from 1) and number in its FFN (from 0) of each.
    """

    neurons: tuple[tuple[int, int], ...]
    registers = 1

    def start(self, backbone: Backbone, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T1 D"]:
        """The input of block 1 with the register: a token of zeros that went through the first normalisation."""
        token = backbone.normalise_input(torch.zeros_like(x[:, :1]))
        return torch.cat([x[:, :1], token, x[:, 1:]], dim=1)

    def run(
        self, block: Block, x: Float[Tensor, "B T1 D"], number: int, depth: int, qkv: QKV | None = None
    ) -> Float[Tensor, "B T1 D"]:
        """A block whose register neurons fire on the register alone."""
        chosen = [neuron for where, neuron in self.neurons if where == number]
        if not chosen:
            return block.forward(x, qkv)
        x = x + block.attend(x, qkv)
        fired = block.neurons(x)
        moved = fired[..., chosen]
        fired[:, 2:, chosen] = 0
        fired[:, 1, chosen] = moved.amax(1)
        return x + block.project_neurons(fired)

    def __call__(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Nothing happens between blocks."""
        return x


@torch.inference_mode()
def find_register_neurons(
    backbone: Backbone, windows: Iterable[Float[Tensor, "B 3 H W"]], *, norm: float, highest: int, count: int
) -> tuple[tuple[int, int], ...]:
    """The neurons that fire most where tokens are outliers.

    Args:
        backbone: The model.
        windows: Batches of normalised images.
        norm: Tokens of the last block's output that are longer than this are outliers.
        highest: Last block that is looked at.
        count: How many neurons.

    Returns:
        Block and number of those with the largest mean size of activation at the outliers of an image, averaged over
        the images that have any, the largest first.

    Raises:
        InputError: No image has an outlier, or the model has fewer blocks.
    """
    if not 1 <= highest <= backbone.depth:
        raise InputError(f"highest={highest} is outside 1..{backbone.depth}, the blocks of this model")
    total, images = None, 0
    for batch in windows:
        tokens = backbone.encode_tokens(batch)
        far = tokens.hidden(backbone.depth).float().norm(dim=-1) > norm  # (B, T)
        share = far / far.sum(1, keepdim=True).clamp_min(1)
        found = []
        for number in range(1, highest + 1):
            block, x = backbone.block(number), tokens.hidden(number - 1)
            sizes = block.neurons(x + block.attend(x)).float().abs()  # (B, T, F)
            found.append(torch.einsum("bt,btf->f", share, sizes))
        images += int(far.any(1).sum())
        total = torch.stack(found) if total is None else total + torch.stack(found)  # (blocks, F)
    if total is None or not images:
        raise InputError(f"no token of these images is longer than norm={norm}; lower it, or give more images")
    order = total.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return tuple((place // total.shape[1] + 1, place % total.shape[1]) for place in order)
