"""Label maps as the error measures read them: checked, with widths in pixels, and sets of pixels that grow.

Every operation is a handful of whole-array shifts, exact in integers, so that its result never depends on rounding.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import hypot, isqrt

import numpy as np

from ovss.errors import InputError

__all__ = [
    "VOID",
    "NumberedTruth",
    "grow_by_disc",
    "grow_by_square",
    "interior_band",
    "numbered",
    "per_class",
    "width_in_pixels",
]

VOID = 0
"""Value of void pixels in the maps of `numbered`; class c is c + 1."""


@dataclass(frozen=True)
class NumberedTruth:
    """Ground truth of one image, checked, with what every method's errors are measured against.

    Attributes:
        labels: 0 for void, c + 1 for class c (H, W), the smallest unsigned integers that hold them.
        classes: Number of classes C.
        void: Value that marked pixels without a class.
    """

    labels: np.ndarray
    classes: int
    void: int
    _bands: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, truth: np.ndarray, classes: int, void: int) -> "NumberedTruth":
        """Ground truth from its label map.

        Args:
            truth: Ground truth (H, W), values 0..classes-1 and `void`.
            classes: Number of classes C.
            void: Value of pixels without a class.

        Raises:
            InputError: The map is not two-dimensional, a value is outside the class list, or `void` is a class.
        """
        if 0 <= void < classes:
            raise InputError(f"void value {void} is also a class; {classes} classes need a larger one")
        return cls(_numbered(truth, classes, void, "ground truth"), classes, void)

    @cached_property
    def known(self) -> np.ndarray:
        """Pixels with a class (H, W)."""
        return self.labels != VOID

    def band(self, width: int) -> np.ndarray:
        """Interior bands of all classes (H, W), made once per width; see `interior_band`."""
        if width not in self._bands:
            self._bands[width] = interior_band(self.labels, width)
        return self._bands[width]

    def number(self, prediction: np.ndarray) -> np.ndarray:
        """A label map in the same numbers.

        Args:
            prediction: Label map (H, W), values 0..classes-1; `void` marks pixels that were given no class.

        Raises:
            InputError: Sizes differ, or a value is outside the class list.
        """
        guess = _numbered(prediction, self.classes, self.void, "prediction")
        if guess.shape != self.labels.shape:
            raise InputError(
                f"the prediction has shape {guess.shape} and the ground truth {self.labels.shape}; they must agree"
            )
        return guess


def numbered(prediction: np.ndarray, truth: np.ndarray, classes: int, void: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and ground truth with 0 for void and c + 1 for class c; see `NumberedTruth`."""
    true = NumberedTruth.of(truth, classes, void)
    return true.number(prediction), true.labels


def _numbered(labels: np.ndarray, classes: int, void: int, what: str) -> np.ndarray:
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise InputError(f"the {what} must be integers (H, W), got {labels.dtype} of shape {labels.shape}")
    empty = labels == void
    outside = ~empty & ((labels < 0) | (labels >= classes))
    if outside.any():
        raise InputError(f"label {labels[outside][0]} of the {what} is outside 0..{classes - 1}, the {classes} classes")
    return np.where(empty, VOID, labels.astype(np.int32) + 1).astype(np.min_scalar_type(classes))


def per_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Number of pixels of each class among numbered labels of any shape, int64 (C,)."""
    return np.bincount(labels.ravel(), minlength=classes + 1)[1:].astype(np.int64)


def width_in_pixels(share: float, shape: tuple[int, ...]) -> int:
    """A share of the diagonal of an image (H, W), rounded to whole pixels (halves to even)."""
    height, width = shape
    return round(share * float(np.sqrt(height**2 + width**2)))


def _in_window(labels: np.ndarray, radius: int, combine: np.ufunc) -> np.ndarray:
    """`combine` (minimum, maximum) over the square of 2 radius + 1 pixels around each pixel, cut at the image border.

    Windows double in length at each step, so the cost grows with the logarithm of the radius.

    Args:
        labels: One map or several (..., H, W).
        radius: Pixels.
        combine: Of two arrays.
    """
    for axis in (-2, -1):
        reach = min(radius, labels.shape[axis] - 1)
        pads = [(0, 0)] * labels.ndim
        pads[axis] = (reach, reach)
        # A repeated border value adds nothing: a window that passes the border holds the border pixel already.
        values, length, size = np.swapaxes(np.pad(labels, pads, mode="edge"), axis, -2), 1, 2 * reach + 1
        while length < size:
            step = min(length, size - length)
            values, length = combine(values[..., :-step, :], values[..., step:, :]), length + step
        labels = np.swapaxes(values, axis, -2)
    return labels


def interior_band(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels that see another label within the square window: the interior bands of all classes at once."""
    return _in_window(labels, width, np.minimum) != _in_window(labels, width, np.maximum)


def grow_by_disc(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels whose distance from the mask, rounded, is at most `width` (pixels); the mask itself is among them.

    round(d) <= w is d^2 <= w^2 + w for offsets between pixels, so the disc is a stack of rows with integer half-widths.

    Args:
        mask: One mask or several (..., H, W).
        width: Pixels.
    """
    width = min(width, int(hypot(*mask.shape[-2:])) + 1)
    return _grow(mask, [isqrt(width * width + width - away * away) for away in range(width + 1)])


def grow_by_square(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels within `width` rows and columns of the mask; see `grow_by_disc`."""
    return _grow(mask, [width] * (width + 1))


def _grow(mask: np.ndarray, reaches: list[int]) -> np.ndarray:
    """Pixels that rows of half-width `reaches[away]`, `away` rows off, reach from a mask; farther ones are no wider."""
    *several, height, length = mask.shape
    width = len(reaches) - 1
    rows, columns = slice(width, width + height), slice(width, width + length)
    # In one line of pixels a step sideways or down is a shift; what leaves a row or a mask stays within its padding.
    padded = np.zeros((*several, height + 2 * width, length + 2 * width), dtype=bool)
    padded[..., rows, columns] = mask
    line, done, down = padded.reshape(-1), 0, padded.shape[-1]
    wide, grown = line.copy(), np.zeros_like(line)
    for away in range(width, -1, -1):
        for reach in range(done + 1, reaches[away] + 1):
            wide[reach:] |= line[:-reach]
            wide[:-reach] |= line[reach:]
        done = reaches[away]
        shift = away * down
        grown[shift:] |= wide[: len(wide) - shift]
        if shift:
            grown[:-shift] |= wide[shift:]
    return grown.reshape(padded.shape)[..., rows, columns]
