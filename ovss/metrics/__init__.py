"""From label maps to numbers, by way of one integer record per image and class.

A record holds the intersection, the ground-truth area and the predicted area, in pixels. Every measure derives from
sums of records; nothing is ever averaged over images or batches.

Words used here:
    counts: Integers (..., 3, C): intersection, ground-truth area and predicted area of each class.
    rule: "standard", or "cliptrase" for what that paper's evaluator does differently.
    void: Pixels without ground truth.
    resample: As many images, drawn with replacement. Replicate: a number computed from a resample.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ovss.errors import InputError

if TYPE_CHECKING:
    from ovss.metrics.borders import border_counts, border_error
    from ovss.metrics.boundary import band_counts, boundary_counts
    from ovss.metrics.calibration import area_under_risk_coverage, confidence_record, expected_calibration_error
    from ovss.metrics.errors import ERROR_COLUMNS, error_counts, split_errors
    from ovss.metrics.morphology import NumberedTruth

_HOMES = {
    "ERROR_COLUMNS": "errors",
    "NumberedTruth": "morphology",
    "area_under_risk_coverage": "calibration",
    "band_counts": "boundary",
    "border_counts": "borders",
    "border_error": "borders",
    "boundary_counts": "boundary",
    "confidence_record": "calibration",
    "error_counts": "errors",
    "expected_calibration_error": "calibration",
    "split_errors": "errors",
}
"""Names that are imported on first use: the split of errors needs scipy, which records and their hashes do without."""

__all__ = [
    "ERROR_COLUMNS",
    "INTERSECTION",
    "MEASURES",
    "PREDICTION",
    "RULES",
    "TRUTH",
    "Measures",
    "NumberedTruth",
    "area_under_risk_coverage",
    "band_counts",
    "border_counts",
    "border_error",
    "boundary_counts",
    "check_truth",
    "confidence_record",
    "count_labels",
    "error_counts",
    "expected_calibration_error",
    "measure",
    "split_errors",
]

MEASURES = ("mIoU", "mAcc", "pAcc", "fwIoU")
RULES = ("standard", "cliptrase")
_CLIPTRASE_MARGIN = 0.01
"""Pixels that CLIPtrase's evaluator adds to each denominator of a class."""
INTERSECTION, TRUTH, PREDICTION = range(3)


def count_labels(
    prediction: np.ndarray, labels: np.ndarray, classes: int, *, void: int = 255, void_class: int | None = None
) -> np.ndarray:
    """Areas of one image, per class.

    Args:
        prediction: Integer label map (H, W), values 0..classes-1.
        labels: Ground truth (H, W), values 0..classes-1 and `void`.
        classes: Number of classes C.
        void: Value of pixels without ground truth; they are left out of all three areas.
        void_class: Class that void pixels belong to instead (CLIPtrase's rule for lists with a background class); an
            image whose ground truth holds nothing else is then left out, all its areas are 0.

    Returns:
        int64 array (3, C): intersection, ground-truth area, predicted area.

    Raises:
        InputError: Sizes differ, a value is outside the class list, or `void` is a class.
    """
    if prediction.shape != labels.shape:
        raise InputError(
            f"the prediction is {_size(prediction)} pixels and the ground truth {_size(labels)}; they must agree"
        )
    check_truth(labels, classes, void)
    truth, guess = labels.ravel(), prediction.ravel()
    if void_class is None:
        valid = truth != void
        if not valid.all():
            truth, guess = truth[valid], guess[valid]
    else:
        truth = np.where(truth == void, void_class, truth)
        if (truth == void_class).all():
            truth, guess = truth[:0], guess[:0]
    _check_range(guess, classes, "prediction")
    areas = (truth[truth == guess], truth, guess)
    return np.stack([np.bincount(area, minlength=classes) for area in areas]).astype(np.int64)


def check_truth(labels: np.ndarray, classes: int, void: int) -> None:
    """Refuse ground truth that holds a value outside the class list; arguments as in `count_labels`.

    Raises:
        InputError: A value is outside the class list, or `void` is a class.
    """
    if 0 <= void < classes:
        raise InputError(f"void value {void} is also a class; {classes} classes need a larger one")
    _check_range(labels[labels != void], classes, "ground truth")


def _size(labels: np.ndarray) -> str:
    return "x".join(map(str, labels.shape[::-1]))


def _check_range(values: np.ndarray, classes: int, what: str) -> None:
    if values.size and (values.min() < 0 or values.max() >= classes):
        worst = int(values.min()) if values.min() < 0 else int(values.max())
        raise InputError(f"label {worst} of the {what} is outside 0..{classes - 1}, the {classes} classes")


class Measures(NamedTuple):
    """What follows from summed records; all in percent, leading dimensions as in the records.

    Attributes:
        mean: (..., 4): mIoU, mAcc, pAcc and fwIoU, in the order of `MEASURES`.
        iou: (..., C), NaN for a class that is not counted.
        accuracy: (..., C), share of a class's ground truth that was found; NaN without ground truth.
    """

    mean: np.ndarray
    iou: np.ndarray
    accuracy: np.ndarray


def measure(counts: np.ndarray, rule: str = "standard") -> Measures:
    """Means and per-class values of summed records.

    Rule "standard": IoU over classes present in ground truth or prediction (one that is only predicted counts as 0),
    accuracy over classes present in the ground truth. Rule "cliptrase" (the authors' evaluator): IoU over classes
    present in the ground truth only; mean accuracy over all classes of the list, an absent one counting as 0; a
    hundredth of a pixel is added to the denominators of both.

    Args:
        counts: (..., 3, C): intersection, ground-truth area, predicted area, summed over images; integers or floats.
        rule: One of `RULES`.

    Returns:
        Values in percent; means are NaN where no pixel was counted.

    Example:
        >>> prediction, truth = np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 255]])
        >>> found = measure(count_labels(prediction, truth, classes=2))
        >>> dict(zip(MEASURES, found.mean.round(1).tolist()))
        {'mIoU': 50.0, 'mAcc': 75.0, 'pAcc': 66.7, 'fwIoU': 50.0}

    Raises:
        InputError: Unknown rule.
    """
    if rule not in RULES:
        raise InputError(f"metric rule '{rule}' is unknown; it is one of {', '.join(RULES)}")
    intersection, truth, prediction = (counts[..., row, :].astype(np.float64) for row in range(3))
    union = truth + prediction - intersection
    counted = truth > 0 if rule == "cliptrase" else union > 0
    margin = _CLIPTRASE_MARGIN if rule == "cliptrase" else 0.0
    iou = np.where(union > 0, _ratio(intersection, union + margin), np.nan)
    accuracy = np.where(truth > 0, _ratio(intersection, truth + margin), np.nan)
    pixels = truth.sum(-1)
    found = np.nan_to_num(accuracy).sum(-1)
    means = (
        _ratio(np.where(counted, iou, 0).sum(-1), counted.sum(-1)),
        _ratio(found, (truth > 0).sum(-1) if rule == "standard" else np.where(pixels > 0, truth.shape[-1], 0)),
        _ratio(intersection.sum(-1), pixels),
        _ratio((np.nan_to_num(iou) * truth).sum(-1), pixels),
    )
    return Measures(100 * np.stack(means, axis=-1), 100 * np.where(counted, iou, np.nan), 100 * accuracy)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    denominator = np.asarray(denominator, dtype=np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ovss.metrics' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
