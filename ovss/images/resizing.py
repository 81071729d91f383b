"""OpenCV's bilinear resizing of 8-bit images, bit for bit.

mmsegmentation's pipelines resize with `cv2.resize(..., INTER_LINEAR)`, which works in fixed point: weights are rounded
to 1/2048 and sums lose their low bits. Float arithmetic differs from it by one grey level in more than a tenth of all
bytes, enough to move labels, so the integer steps are repeated here.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt8

__all__ = ["opencv_bilinear"]

_ONE = 2048
"""A weight of 1 in fixed point."""


class _Taps(NamedTuple):
    """The two samples that each new one is made from, along one axis.

    Attributes:
        low: Index of the lower sample.
        high: Index of the upper sample.
        keep: Weight of the lower sample, in units of 1 / `ONE`.
        share: Weight of the upper sample, likewise.
    """

    low: Int[np.ndarray, " n"]
    high: Int[np.ndarray, " n"]
    keep: Int32[np.ndarray, " n"]
    share: Int32[np.ndarray, " n"]


def opencv_bilinear(pixels: UInt8[np.ndarray, "H W C"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w C"]:
    """Resize as OpenCV's INTER_LINEAR does on 8-bit images, without antialiasing.

    Args:
        pixels: Image with any number of channels.
        size: New (width, height) in pixels, both at least 1.

    Returns:
        A new array (height, width, channels) of uint8.
    """
    height, width, channels = pixels.shape
    if (width, height) == size:
        return pixels.copy()
    if (width, height) == (2 * size[0], 2 * size[1]):
        return _halved(pixels)
    across, down = _taps(size[0], width, single_at_border=True), _taps(size[1], height, single_at_border=False)
    # Bytes are gathered from flat rows, which is much faster than gathering pixels of a few bytes each.
    flat, offsets = pixels.reshape(height, width * channels), np.arange(channels)
    rows = _gathered(flat, across.low, offsets)  # (H, w * C)
    rows *= across.keep.repeat(channels)
    other = _gathered(flat, across.high, offsets)
    other *= across.share.repeat(channels)
    rows += other
    rows >>= 4
    mixed = rows[down.low]  # (h, w * C)
    mixed *= down.keep[:, None]
    mixed >>= 16
    other = rows[down.high]
    other *= down.share[:, None]
    other >>= 16
    mixed += other
    mixed += 2
    mixed >>= 2
    return mixed.astype(np.uint8).reshape(size[1], size[0], channels)


def _halved(pixels: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "h w C"]:
    """Rounded means of 2 x 2 pixels: what OpenCV does instead where both sides are exactly halved."""
    wide = pixels.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _gathered(
    flat: UInt8[np.ndarray, "H WC"], columns: Int[np.ndarray, " w"], offsets: Int[np.ndarray, " C"]
) -> Int32[np.ndarray, "H wC"]:
    """Chosen columns of pixels from rows whose channels lie side by side."""
    chosen = columns[:, None] * len(offsets) + offsets
    return np.take(flat, chosen.ravel(), axis=1).astype(np.int32)


def _taps(target: int, source: int, *, single_at_border: bool) -> _Taps:
    """Samples and weights along one axis.

    Args:
        target: New length.
        source: Present length.
        single_at_border: Whether a new sample beyond the centre of the first or last one is that one alone, as OpenCV's
            columns are. Its rows mix the border with itself, which after rounding can be one less.
    """
    # The ratio is inverted twice and positions are single precision in OpenCV, and both can move a rounded weight.
    scale = 1.0 / (target / source)
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    low = np.floor(position)
    share = position - low
    low = low.astype(np.int64)
    if single_at_border:
        share[(low < 0) | (low >= source - 1)] = 0
    keep, share = (np.rint(part * np.float32(_ONE)).astype(np.int32) for part in (np.float32(1) - share, share))
    return _Taps(low.clip(0, source - 1), (low + 1).clip(0, source - 1), keep, share)
