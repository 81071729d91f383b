"""Where the missing IoU of an image goes: to boundaries, to wrong extent, or to whole wrong segments.

Definitions of "What's Outside the Intersection? Fine-Grained Error Analysis for Semantic Segmentation Beyond IoU"
(Bernhard et al., WACV 2024, section 3); the counts equal those of its published code. All are pixels per image and
class, so summing them over images and dividing by the union splits 1 - IoU without remainder.
"""

import numpy as np
from scipy import ndimage

from ovss.errors import InputError
from ovss.metrics.morphology import NumberedTruth, grow_by_disc, grow_by_square, per_class, width_in_pixels

ERROR_COLUMNS = (
    "ignore",
    "TP",
    "TN",
    "FP_boundary",
    "FN_boundary",
    "FP_extent",
    "FN_extent",
    "FP_segment",
    "FN_segment",
)
_TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels that share a corner belong to one piece."""


def error_counts(
    prediction: np.ndarray, truth: np.ndarray, classes: int, *, void: int = 255, width: float = 0.01
) -> dict[str, np.ndarray]:
    """Pixels of one image per class and kind of error.

    - boundary: errors in the strip between true positives and true negatives, reached from both within `width`;
    - extent: other errors of a predicted (FP) or true (FN) piece that was found in part;
    - segment: errors of pieces that hold no true positive at all.

    Void pixels of the ground truth count as `ignore` for every class. As in the published code a predicted region
    continues under them, and for the classes not predicted there they are background.

    Args:
        prediction: Label map (H, W), values 0..classes-1; `void` marks pixels that were given no class.
        truth: Ground truth (H, W), values 0..classes-1 and `void`.
        classes: Number of classes C.
        void: Value of pixels without a class.
        width: Width of the boundary; below 1 a share of the image diagonal, rounded to pixels, else whole pixels.

    Returns:
        For each name of `ERROR_COLUMNS` an int64 array (C,); the columns of a class add up to H x W.

    Raises:
        InputError: Maps that do not fit each other or the class list, or a width below 0 or, from 1, not whole.
    """
    true = NumberedTruth.of(truth, classes, void)
    return split_errors(true.number(prediction), true, width)


def split_errors(guess: np.ndarray, truth: NumberedTruth, width: float = 0.01) -> dict[str, np.ndarray]:
    """As `error_counts`.

    Args:
        guess: Label map (H, W) in the numbers of the ground truth.
        truth: The ground truth.
        width: See `error_counts`.
    """
    true, known, classes = truth.labels, truth.known, truth.classes
    pixels = _boundary_width(width, true.shape)
    hits = per_class(true[guess == true], classes)
    wrong = np.stack([per_class(guess[known], classes), per_class(true, classes)]) - hits  # (2, C): FP, FN
    boundary, extent = np.zeros_like(wrong), np.zeros_like(wrong)
    # Without a hit every error is a segment error, and without an error there is nothing to split.
    for index in np.flatnonzero((hits > 0) & (wrong.sum(0) > 0)).tolist():
        box = _box(guess, true, index + 1, max(pixels, 1))
        parts = _split(guess[box] == index + 1, true[box] == index + 1, known[box], pixels)
        boundary[:, index], extent[:, index] = parts
    segment = wrong - boundary - extent
    ignored = np.full(classes, np.count_nonzero(~known), dtype=np.int64)
    rest = true.size - ignored - hits - wrong.sum(0)
    return dict(zip(ERROR_COLUMNS, (ignored, hits, rest, *boundary, *extent, *segment), strict=True))


def _boundary_width(width: float, shape: tuple[int, ...]) -> int:
    if not 0 <= width < np.inf or (width >= 1 and width % 1):
        raise InputError(
            f"the boundary width is a share of the diagonal below 1, or a whole number of pixels from 1; got {width}"
        )
    return width_in_pixels(width, shape) if width < 1 else int(width)


def _box(guess: np.ndarray, true: np.ndarray, label: int, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold a class in either map, and `margin` pixels around them."""
    region = (guess == label) | (true == label)
    spans = []
    for axis in (1, 0):
        lines = np.flatnonzero(region.any(axis))
        spans.append(slice(max(int(lines[0]) - margin, 0), int(lines[-1]) + margin + 1))
    return spans[0], spans[1]


def _split(guess: np.ndarray, true: np.ndarray, known: np.ndarray, width: int) -> tuple[list[int], list[int]]:
    """Boundary and extent errors of one class, each (FP, FN), from its masks (h, w) with room around them."""
    hit = guess & true
    wrong, ends = np.stack([guess, true]) ^ hit, np.stack([hit, ~(guess | true)])
    near, touched = grow_by_disc(ends, width), grow_by_square(ends, 1)
    strips = wrong & grow_by_disc(wrong & (near[0] & near[1]), width)
    boundary, extent = [], []
    for errors, strip in zip(wrong, strips, strict=True):
        strip = _pieces(strip, *touched)
        rest = errors & ~strip & known
        boundary.append(np.count_nonzero(strip & known))
        # Of a region, a piece of errors that touches no hit is a piece of the region.
        extent.append(np.count_nonzero(rest & _pieces(errors, touched[0])) if rest.any() else 0)
    return boundary, extent


def _pieces(mask: np.ndarray, *touched: np.ndarray) -> np.ndarray:
    """The connected pieces of a mask that overlap each of the other masks."""
    spots = np.flatnonzero(mask)
    if not spots.size:
        return mask
    labels = np.zeros(mask.shape, dtype=np.int32)
    found = int(ndimage.label(mask, structure=_TOUCHING, output=labels))  # type: ignore[arg-type]
    piece = labels.ravel()[spots]
    kept = np.ones(found + 1, dtype=bool)
    for other in touched:
        overlapping = np.zeros(found + 1, dtype=bool)
        overlapping[piece[other.ravel()[spots]]] = True
        kept &= overlapping
    result = np.zeros_like(mask)
    result.ravel()[spots] = kept[piece]
    return result
