"""An image as windows are cut from it: resized, normalised, and where each window begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from ovss.backbone.devices import to_device
from ovss.errors import InputError
from ovss.protocols import Geometry
from ovss.segment.windows import Windows1D, centre_crop, resize_image, resized_size

__all__ = ["WindowedImage", "cut_windows", "seen_image", "whole_patches"]


@dataclass(frozen=True)
class WindowedImage:
    """An image ready for the backbone.

    Attributes:
        image: The image that labels are given for (the centre crop where the protocol crops), RGB.
        seen: The same as windows are cut from it: resized, 8 bits a channel.
        normalise: Makes of pixels what the model was trained on; see `Backbone.normalise`.
        rows: Windows along the height.
        columns: Windows along the width.
    """

    image: Image.Image
    seen: UInt8[Tensor, "3 H W"]
    normalise: Callable[[Tensor], Tensor] = field(repr=False)
    rows: Windows1D
    columns: Windows1D

    @cached_property
    def pixels(self) -> Float[Tensor, "3 H W"]:
        """Normalised image that windows are cut from, where `seen` is."""
        return self.normalise(self.seen)

    def on(self, device: torch.device) -> Self:
        """The image on a device: it crosses once, as bytes, and is normalised and cut there."""
        return self if self.seen.device == device else replace(self, seen=to_device(self.seen, device))

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


def cut_windows(images: Sequence[WindowedImage], chosen: Sequence[tuple[int, int]]) -> Float[Tensor, "B 3 h w"]:
    """Windows of equal size, with their padding.

    Args:
        images: Where they are cut from.
        chosen: Number of the image and of the window in it, of each.
    """
    return torch.stack([images[number].crop(window)[:3] for number, window in chosen])


def whole_patches(windows: Float[Tensor, "B 3 h w"], patch: int) -> Float[Tensor, "B 3 H W"]:
    """Windows without the rows and columns that fill no patch of `patch` pixels."""
    height, width = (side // patch * patch for side in windows.shape[-2:])
    return windows[..., :height, :width]
