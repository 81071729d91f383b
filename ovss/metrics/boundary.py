"""Boundary IoU as integer counts per image and class: how well contours agree, whatever the area.

Boundary IoU: Cheng et al., "Boundary IoU", CVPR 2021, on the bands that the published code of "What's Outside the
Intersection?" (Bernhard et al., WACV 2024) draws. A band reaches w pixels from the contour, w being a share of the
image diagonal and at least 1. Distances are those of a square neighbourhood; the border of the image is no contour.
Ratios of summed counts are the measures; nothing is averaged over images.
"""

import numpy as np

from ovss.errors import InputError
from ovss.metrics.morphology import NumberedTruth, interior_band, per_class, width_in_pixels


def boundary_counts(
    prediction: np.ndarray, truth: np.ndarray, classes: int, *, void: int = 255, share: float = 0.02
) -> np.ndarray:
    """Intersection and union of the interior bands of prediction and ground truth.

    The interior band of a class holds its pixels within w of a pixel that is not of the class, void included. Void
    pixels are left out of both counts, but a predicted region continues under them.

    Args:
        prediction: Label map (H, W), values 0..classes-1; `void` marks pixels that were given no class.
        truth: Ground truth (H, W), values 0..classes-1 and `void`.
        classes: Number of classes C.
        void: Value of pixels without a class.
        share: Width of the band as a share of the image diagonal.

    Returns:
        int64 (C, 2): intersection and union, in pixels.

    Raises:
        InputError: Maps that do not fit each other or the class list, or a share below 0.
    """
    true = NumberedTruth.of(truth, classes, void)
    return band_counts(true.number(prediction), true, share)


def band_counts(guess: np.ndarray, truth: NumberedTruth, share: float = 0.02) -> np.ndarray:
    """As `boundary_counts`.

    Args:
        guess: Label map (H, W) in the numbers of the ground truth.
        truth: The ground truth; its bands are made once for all methods.
        share: See `boundary_counts`.
    """
    width, true, classes = _band_width(share, truth.labels.shape), truth.labels, truth.classes
    guess_band, true_band = interior_band(guess, width), truth.band(width)
    shared = per_class(true[guess_band & true_band & (guess == true)], classes)
    either = per_class(guess[guess_band & truth.known], classes) + per_class(true[true_band], classes) - shared
    return np.stack([shared, either], axis=1)


def _band_width(share: float, shape: tuple[int, ...]) -> int:
    if not 0 <= share < np.inf:
        raise InputError(f"the width of the boundary band is a share of the diagonal, 0 or more; got {share}")
    return max(width_in_pixels(share, shape), 1)
