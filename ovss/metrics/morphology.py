"""Label maps as the error measures read them: checked, with widths in pixels, and sets of pixels that grow.

Every operation is a handful of whole-array shifts, exact in integers, so that its result never depends on rounding.
"""

from math import hypot, isqrt

import numpy as np

from ovss.errors import InputError

VOID = 0
"""Value of void pixels in the maps of `numbered`; class c is c + 1."""


def numbered(prediction: np.ndarray, truth: np.ndarray, classes: int, void: int) -> tuple[np.ndarray, np.ndarray]:
    """Both maps with 0 for void and c + 1 for class c.

    Args:
        prediction: Label map (H, W), values 0..classes-1; `void` marks pixels that were given no class.
        truth: Ground truth (H, W), values 0..classes-1 and `void`.
        classes: Number of classes C.
        void: Value of pixels without a class.

    Returns:
        Prediction and ground truth, int32 (H, W), values 0..C.

    Raises:
        InputError: Sizes differ, a map is not two-dimensional, a value is outside the class list, or `void` is a class.
    """
    for labels, what in ((prediction, "prediction"), (truth, "ground truth")):
        if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
            raise InputError(f"the {what} must be integers (H, W), got {labels.dtype} of shape {labels.shape}")
    if prediction.shape != truth.shape:
        raise InputError(
            f"the prediction has shape {prediction.shape} and the ground truth {truth.shape}; they must agree"
        )
    if 0 <= void < classes:
        raise InputError(f"void value {void} is also a class; {classes} classes need a larger one")
    return _numbered(prediction, classes, void, "prediction"), _numbered(truth, classes, void, "ground truth")


def _numbered(labels: np.ndarray, classes: int, void: int, what: str) -> np.ndarray:
    empty = labels == void
    outside = ~empty & ((labels < 0) | (labels >= classes))
    if outside.any():
        raise InputError(f"label {labels[outside][0]} of the {what} is outside 0..{classes - 1}, the {classes} classes")
    return np.where(empty, VOID, labels.astype(np.int32) + 1)


def per_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Number of pixels of each class among numbered labels of any shape, int64 (C,)."""
    return np.bincount(labels.ravel(), minlength=classes + 1)[1:].astype(np.int64)


def width_in_pixels(share: float, shape: tuple[int, ...]) -> int:
    """A share of the diagonal of an image (H, W), rounded to whole pixels (halves to even)."""
    height, width = shape
    return round(share * float(np.sqrt(height**2 + width**2)))


def in_window(labels: np.ndarray, radius: int, combine: np.ufunc) -> np.ndarray:
    """`combine` (minimum, maximum) over the square of 2 radius + 1 pixels around each pixel, cut at the image border.

    Windows double in length at each step, so the cost grows with the logarithm of the radius.
    """
    for axis in (0, 1):
        reach = min(radius, labels.shape[axis] - 1)
        pads = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        # A repeated border value adds nothing: a window that passes the border holds the border pixel already.
        values, length, size = np.moveaxis(np.pad(labels, pads, mode="edge"), axis, 0), 1, 2 * reach + 1
        while length < size:
            step = min(length, size - length)
            values, length = combine(values[:-step], values[step:]), length + step
        labels = np.moveaxis(values, 0, axis)
    return labels


def grow_by_disc(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels whose distance from the mask, rounded, is at most `width` (pixels); the mask itself is among them.

    round(d) <= w is d^2 <= w^2 + w for offsets between pixels, so the disc is a stack of rows with integer half-widths.
    """
    height, length = mask.shape
    width = min(width, int(hypot(height, length)) + 1)
    padded = np.pad(mask, width)
    rows, reach = padded[:, width : width + length].copy(), 0
    grown = np.zeros_like(mask)
    for away in range(width, -1, -1):
        while reach < isqrt(width * width + width - away * away):
            reach += 1
            rows |= padded[:, width - reach : width - reach + length]
            rows |= padded[:, width + reach : width + reach + length]
        grown |= rows[width - away : width - away + height]
        grown |= rows[width + away : width + away + height]
    return grown
