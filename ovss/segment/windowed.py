"""An image as windows are cut from it: resized, normalised, and where each window begins."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from ovss.errors import InputError
from ovss.protocols import Geometry
from ovss.segment.windows import Windows1D, centre_crop, resize_image, resized_size

__all__ = ["WindowedImage", "seen_image"]


@dataclass(frozen=True)
class WindowedImage:
    """An image ready for the backbone.

    Attributes:
        image: The image that labels are given for (the centre crop where the protocol crops), RGB.
        pixels: Normalised image (3, H', W') that windows are cut from.
        rows: Windows along the height.
        columns: Windows along the width.
    """

    image: Image.Image
    pixels: Float[Tensor, "3 H W"]
    rows: Windows1D
    columns: Windows1D

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the label map in pixels."""
        return self.image.height, self.image.width

    @property
    def offsets(self) -> Int[Tensor, "B 2"]:
        """Pixel (y, x) at which each window starts, its padding included; windows are counted row by row."""
        axes = (torch.tensor(axis.starts) - axis.padding[0] for axis in (self.rows, self.columns))
        return torch.cartesian_prod(*axes)

    def crop(self, window: int) -> Float[Tensor, "3 h w"]:
        """Pixels of one window, counted row by row, with its padding."""
        return self._cut(self.pixels, window)

    def _cut(self, maps: Float[Tensor, "k H W"], window: int) -> Float[Tensor, "k h w"]:
        row, column = divmod(window, len(self.columns.starts))
        top, left = self.rows.starts[row], self.columns.starts[column]
        inside = maps[:, top : top + self.rows.window, left : left + self.columns.window]
        return F.pad(inside, (*self.columns.padding, *self.rows.padding))

    @property
    def overlapping(self) -> bool:
        """Whether windows overlap along either axis."""
        return self.rows.overlapping or self.columns.overlapping


def seen_image(image: Image.Image, geometry: Geometry) -> Image.Image:
    """An RGB image as the model sees it before windows are cut: resized and, where the protocol crops, cropped.

    Args:
        image: RGB image.
        geometry: The protocol's sizes and filter for the model.

    Raises:
        InputError: The image is so thin that nothing of its short side would be left.
    """
    size = resized_size(*image.size, geometry.short_side, geometry.max_long_side, geometry.size_rule)
    if min(size) < 1:
        raise InputError(
            f"an image of {image.width}x{image.height} pixels becomes {size[0]}x{size[1]} where its sides are limited; "
            "it is too thin"
        )
    resized = resize_image(image, size, geometry.resize_filter)
    return resized if geometry.crop is None else centre_crop(resized, geometry.crop)
