"""PAMR as protocols use it: which image the scores follow. The refinement itself is `ovss.ingredients.pamr`."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.ingredients.pamr import Pamr, pamr

__all__ = ["Pamr", "input_guide", "pamr"]


def input_guide(pixels: Float[Tensor, "3 h w"], size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """The network's input brought to another size, which NACLIP's code guides by: softer than the image itself.

    Args:
        pixels: Normalised image as windows are cut from it.
        size: Height and width of the label map in pixels.
    """
    return F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0]
