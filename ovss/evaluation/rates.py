"""From recorded numbers, summed over images, to the measures of the error card; all in percent."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ovss.evaluation.extras import ERRORS
from ovss.metrics import (
    INTERSECTION,
    PREDICTION,
    TRUTH,
    area_under_risk_coverage,
    expected_calibration_error,
)

__all__ = ["CALIBRATION", "ErrorRates", "by_image", "by_size", "calibration_rates", "error_rates"]

CALIBRATION = ("ECE", "AURC", "mean confidence", "pixel accuracy")
_SIZES = ("small", "medium", "large")


class ErrorRates(NamedTuple):
    """How mIoU, its losses and boundary IoU follow from summed numbers.

    Attributes:
        names: What they are called.
        of: From sums (some, 3 + 6, C), counts and then the numbers of `ERRORS`, to the measures (some, k).
    """

    names: tuple[str, ...]
    of: Callable[[np.ndarray], np.ndarray]


def error_rates(rule: str) -> ErrorRates:
    """Measures of errors: of each class as shares of its union, then the mean over the classes that the rule counts.

    Args:
        rule: Metric rule, see `ovss.metrics.measure`; its hundredth of a pixel per class is left out.
    """
    names = ["mIoU"]
    for kind in ("boundaries", "extent", "segments"):
        names += [f"lost to {kind}", f"lost to {kind}, false positive"]
    names.append("boundary IoU")

    def of(sums: np.ndarray) -> np.ndarray:
        hit, truth, guess = (sums[:, row].astype(np.float64) for row in (INTERSECTION, TRUTH, PREDICTION))
        kinds: dict[str, np.ndarray] = dict(zip(ERRORS, np.moveaxis(sums[:, 3:].astype(np.float64), 1, 0), strict=True))
        union = truth + guess - hit
        counted = truth > 0 if rule == "cliptrase" else union > 0
        positive, negative = guess - hit, truth - hit
        parts = [hit]
        for kind in ("boundary", "extent"):
            parts += [kinds[f"FP_{kind}"] + kinds[f"FN_{kind}"], kinds[f"FP_{kind}"]]
        left = positive - kinds["FP_boundary"] - kinds["FP_extent"]
        parts += [left + negative - kinds["FN_boundary"] - kinds["FN_extent"], left]
        band = kinds["boundary_union"]
        shares = [_mean(part, union, counted) for part in parts]
        return 100 * np.stack([*shares, _mean(kinds["boundary_intersection"], band, counted & (band > 0))], axis=1)

    return ErrorRates(tuple(names), of)


def _mean(part: np.ndarray, whole: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean over the counted classes of part / whole; NaN without one."""
    share = np.divide(part, whole, out=np.zeros_like(part), where=counted & (whole > 0)).sum(-1)
    number = counted.sum(-1)
    return np.divide(share, number, out=np.full(share.shape, np.nan), where=number > 0)


def by_image(counts: np.ndarray) -> tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]:
    """Mean over images of the mean IoU of the classes in them, and its mean over the worst tenth of the images.

    Args:
        counts: Counts (images, 3, C) of one method.

    Returns:
        Names, and a function from how often each image is there (some, images) to the measures (some, 2).
    """
    hit, truth, guess = (counts[:, row].astype(np.float64) for row in (INTERSECTION, TRUTH, PREDICTION))
    union = truth + guess - hit
    score = _mean(hit, union, union > 0)  # NaN for an image without a counted pixel
    order = np.argsort(score)[: int((~np.isnan(score)).sum())]

    def of(weights: np.ndarray) -> np.ndarray:
        here = weights[:, order]
        total = here.sum(1, keepdims=True)
        before = np.cumsum(here, axis=1) - here
        worst = np.clip(total / 10 - before, 0, here)
        with np.errstate(invalid="ignore"):
            means = [(part * score[order]).sum(1) / part.sum(1) for part in (here, worst)]
        return 100 * np.stack(means, axis=1)

    return ("image mIoU", "image mIoU, worst tenth"), of


def by_size(counts: np.ndarray) -> tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]:
    """Mean IoU of a class in an image that holds it, by thirds of all such regions in the order of their areas.

    Args:
        counts: Counts (images, 3, C) of one method.

    Returns:
        Names, and a function from how often each image is there (some, images) to the measures (some, 3).
    """
    hit, truth, guess = (counts[:, row].astype(np.float64) for row in (INTERSECTION, TRUTH, PREDICTION))
    image, index = np.nonzero(truth)
    area = truth[image, index]
    iou = hit[image, index] / (area + guess[image, index] - hit[image, index])
    limits = np.quantile(area, [1 / 3, 2 / 3]) if len(area) else [0, 0]
    third = np.searchsorted(limits, area, side="left")
    shape = (len(counts), len(_SIZES))
    number, total = np.zeros(shape), np.zeros(shape)
    np.add.at(number, (image, third), 1)
    np.add.at(total, (image, third), iou)

    def of(weights: np.ndarray) -> np.ndarray:
        sums, numbers = weights @ total, weights @ number
        return 100 * np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=numbers > 0)

    return tuple(f"IoU of {size} regions" for size in _SIZES), of


def calibration_rates(sums: np.ndarray) -> np.ndarray:
    """The measures of `CALIBRATION` (some, 4) from summed records of confidence (some, 3, B)."""
    sums = sums.astype(np.float64)
    pixels, hits, confidence = (sums[:, row].sum(-1) for row in range(3))
    with np.errstate(invalid="ignore"):
        shares = (confidence / pixels, hits / pixels)
    return 100 * np.stack([expected_calibration_error(sums), area_under_risk_coverage(sums), *shares], axis=1)
