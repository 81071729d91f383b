"""Geometry of sliding windows: resizing, positions, and stitching as one separable linear map.

Upsampling each window's patch map to pixels, summing the windows, dividing by how many cover a pixel and resizing the
result to the image's own size are all linear, and each acts on rows and columns separately. So the whole chain is
`A @ G @ B.T`: G holds the patch maps of all windows side by side, A and B are small matrices made once per image size.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from ovss.errors import InputError
from ovss.images.resizing import opencv_bilinear
from ovss.ingredients.interpolation import bilinear_matrix

__all__ = ["Windows1D", "border_pairs", "resize_image", "resized_size"]

_PILLOW = {"pil-bicubic": Image.Resampling.BICUBIC, "pil-bilinear": Image.Resampling.BILINEAR}


class Windows1D(NamedTuple):
    """Windows along one axis of an image."""

    size: int
    """Length in pixels of the image that is cut into windows."""
    window: int
    """Length of one window in pixels."""
    starts: tuple[int, ...]
    """First pixel of each window, ascending."""
    padding: tuple[int, int] = (0, 0)
    """Zeros before and behind the pixels of each window, which fill it up to whole patches."""

    @property
    def padded(self) -> int:
        """Length in pixels of one window as the model sees it."""
        return self.window + sum(self.padding)

    @property
    def overlapping(self) -> bool:
        """Whether two windows share a pixel."""
        return any(b - a < self.window for a, b in zip(self.starts, self.starts[1:], strict=False))


def border_pairs(axis: Windows1D, target: int) -> Bool[np.ndarray, " target-1"]:
    """Between which neighbouring pixels of the label map a window begins or ends.

    Where the label map has another size than the image that was cut, a border lies between the last pixel of one side
    and the first of the other, and every pair that reaches into that gap counts.

    Args:
        axis: The windows.
        target: Length of the label map in pixels.
    """
    inner = {edge for start in axis.starts for edge in (start, start + axis.window)} - {0, axis.size}
    borders = np.array(sorted(inner))[:, None]
    centres = (np.arange(target) + 0.5) * axis.size / target - 0.5  # of the label map's pixels, in the image's
    return np.any((centres[:-1] < borders) & (centres[1:] > borders - 1), axis=0)


def resized_size(
    width: int, height: int, short_side: int, max_long_side: int | None, size_rule: str = "round"
) -> tuple[int, int]:
    """Size after bringing the short side to `short_side`, unless the long one would pass `max_long_side`.

    Args:
        width: Present width in pixels.
        height: Present height.
        short_side: New length of the shorter side.
        max_long_side: Limit of the longer side; None: no limit.
        size_rule: "round": both sides are multiplied by one factor and rounded (mmsegmentation). "cut": the longer side
            follows from the shorter one and loses its fraction (torchvision).

    Returns:
        New (width, height) in pixels.
    """
    if size_rule == "cut":
        short, long = short_side, int(short_side * max(width, height) / min(width, height))
        if max_long_side is not None and long > max_long_side:
            short, long = int(max_long_side * short / long), max_long_side
        return (short, long) if width <= height else (long, short)
    scale = short_side / min(width, height)
    if max_long_side is not None:
        scale = min(scale, max_long_side / max(width, height))
    return int(width * scale + 0.5), int(height * scale + 0.5)


def resize_image(image: Image.Image, size: tuple[int, int], resize_filter: str) -> Image.Image:
    """Resize an RGB image.

    Args:
        image: RGB image.
        size: New (width, height) in pixels.
        resize_filter: "opencv-bilinear" (mmsegmentation's pipelines, bit for bit), "bilinear" (the same in float
            arithmetic; neither antialiases), "pil-bicubic" (CLIP's own transform) or "pil-bilinear".

    Returns:
        8-bit RGB image of that size; the same object when nothing changes.

    Raises:
        InputError: No such filter.
    """
    if image.size == size:
        return image
    if resize_filter in _PILLOW:
        return image.resize(size, _PILLOW[resize_filter])
    if resize_filter == "opencv-bilinear":
        return Image.fromarray(opencv_bilinear(np.asarray(image), size))
    if resize_filter != "bilinear":
        raise InputError(f"'{resize_filter}' is no filter; `Protocol.geometry` says which one a model has")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float()  # (1, 3, H, W)
    resized = F.interpolate(pixels, size=(size[1], size[0]), mode="bilinear", align_corners=False)
    return Image.fromarray(resized[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """The central square of `side` pixels (torchvision's rounding of odd margins)."""
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def axis_windows(size: int, window: int | None, stride: int | None, patch: int | None = None) -> Windows1D:
    """Windows along an axis of `size` pixels: ceil((size - window) / stride) + 1 of them, the last one moved back
    inside.

    Args:
        size: Length of the axis in pixels.
        window: Window length; None, or more than `size`, gives one window over the whole axis.
        stride: Step between windows.
        patch: Side of a patch that windows are padded to whole numbers of, the odd pixel behind; None: no padding.
    """
    if window is None or size <= window:
        return Windows1D(size, size, (0,), _padding(size, patch))
    if stride is None or stride < 1:
        raise InputError(f"stride must be a positive number of pixels for windows of {window} pixels, not {stride}")
    count = math.ceil((size - window) / stride) + 1
    return Windows1D(size, window, tuple(min(i * stride, size - window) for i in range(count)), _padding(window, patch))


def _padding(window: int, patch: int | None) -> tuple[int, int]:
    missing = -window % patch if patch else 0
    return missing // 2, missing - missing // 2


@lru_cache(maxsize=64)
def stitch_matrix(axis: Windows1D, cells: int, target: int) -> Float[Tensor, "target windows_cells"]:
    """One axis of the stitching: from the cells of all windows, side by side, to the pixels of the final image.

    Made once for all methods and images of one size; who gets it must not change it.

    Args:
        axis: The windows.
        cells: Score cells per window along this axis (patches, or pixels where scores are at window resolution);
            where windows are padded, the padding's included.
        target: Length of the final image in pixels.

    Returns:
        Float32 matrix (target, len(axis.starts) * cells): upsampling to the window, mean over the windows that cover a
        pixel, resizing to the target.
    """
    upsample = bilinear_matrix(axis.padded, cells)[axis.padding[0] :][: axis.window]  # (window, cells)
    placed = torch.zeros(axis.size, len(axis.starts), cells, dtype=torch.float64)
    cover = torch.zeros(axis.size, dtype=torch.float64)
    for number, start in enumerate(axis.starts):
        placed[start : start + axis.window, number] = upsample
        cover[start : start + axis.window] += 1
    stitched = placed.flatten(1) / cover.unsqueeze(1)  # (size, windows * cells)
    return (bilinear_matrix(target, axis.size) @ stitched).float()
