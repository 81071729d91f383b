"""How sure a number is: intervals over images, paired differences, corrected p-values.

Images are the sampling unit throughout. Methods that are compared were run on the same images, so each resample draws
the same images for both.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ovss.errors import InputError
from ovss.metrics import INTERSECTION, PREDICTION, TRUTH, measure

RESAMPLES = 2000
LEVEL = 95.0
_CHUNK_BYTES = 64 << 20


class Interval(NamedTuple):
    """Estimates with percentile intervals, each an array (..., 4) over mIoU, mAcc, pAcc and fwIoU."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap(
    counts: np.ndarray, rule: str = "standard", *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Percentile bootstrap over images.

    Args:
        counts: Records (images, 3, C).
        rule: Metric rule, see `ovss.metrics.measure`.
        resamples: Number of resamples of as many images, drawn with replacement.
        level: Coverage in percent.
        seed: Of the resampling; the same seed draws the same images whatever the counts.

    Returns:
        The four means with their intervals, in percent.
    """
    draws = np.concatenate([measure(sums, rule).mean for sums in _resampled(counts, resamples, seed)])
    return _interval(measure(counts.sum(0), rule).mean, draws, level)


class Difference(NamedTuple):
    """What method b changes against method a, on the same images.

    Attributes:
        mean: Differences of the four means in percentage points, (4,) each.
        iou: Differences of IoU per class, (C,) each; NaN for a class that either side does not count.
    """

    mean: Interval
    iou: Interval


def compare_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    rule: str = "standard",
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap of b minus a: both sides of a resample see the same images.

    Args:
        a: Records (images, 3, C) of one method.
        b: Records of another one, same images in the same order.
        rule: Metric rule.
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.

    Raises:
        InputError: The two sides differ in images or in ground truth, so they are no pair.
    """
    _check_pair(a, b)
    means, ious = [], []
    pairs = zip(_resampled(a, resamples, seed), _resampled(b, resamples, seed), strict=True)
    for first, second in pairs:
        left, right = measure(first, rule), measure(second, rule)
        means.append(right.mean - left.mean)
        ious.append(right.iou - left.iou)
    left, right = measure(a.sum(0), rule), measure(b.sum(0), rule)
    return Difference(
        _interval(right.mean - left.mean, np.concatenate(means), level),
        _interval(right.iou - left.iou, np.concatenate(ious), level),
    )


def permutation_test(
    a: np.ndarray, b: np.ndarray, rule: str = "standard", *, permutations: int | None = None, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Two-sided paired permutation test of equal IoU, per class and for their mean.

    Under the hypothesis that the two methods are interchangeable, swapping their results on any image changes nothing;
    each permutation swaps them on a random half of the images and compares the difference of the data-set IoUs with the
    observed one. Unlike a bootstrap p-value it stays valid for a class that occurs in a handful of images.

    Args:
        a: Records (images, 3, C) of one method.
        b: Records of another one, same images in the same order.
        rule: Metric rule; decides which classes are counted.
        permutations: Number of random swaps; by default enough for Holm's correction over C classes to reach 0.05: at
            least 2000, or 40 per class.
        seed: Of the swaps.

    Returns:
        p-values per class (C,), NaN for a class that either method does not count, and the p-value of the mIoU
        difference.
    """
    _check_pair(a, b)
    images, _, classes = a.shape
    permutations = permutations or max(RESAMPLES, 40 * classes)
    truth = a[:, TRUTH].sum(0).astype(np.float64)
    left, right = (side[:, [INTERSECTION, PREDICTION]].sum(0).astype(np.float64) for side in (a, b))  # (2, C)
    change = (b - a)[:, [INTERSECTION, PREDICTION]].reshape(images, -1).astype(np.float64)  # (images, 2 C)

    def deltas(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = _iou(left + moved, truth, rule), _iou(right - moved, truth, rule)
        return second - first, _mean(second) - _mean(first)

    observed, observed_mean = deltas(np.zeros((2, classes)))
    # Rounding in the sums must not let a permutation that changes nothing count as smaller.
    bar, mean_bar = np.abs(np.nan_to_num(observed)) - 1e-9, abs(observed_mean) - 1e-9
    reached, mean_reached = np.ones(classes), 1
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_BYTES // (8 * max(images, 2 * classes)))
    for start in range(0, permutations, step):
        swap = generator.integers(0, 2, (min(step, permutations - start), images), dtype=np.int8)
        delta, mean = deltas((swap.astype(np.float64) @ change).reshape(-1, 2, classes))
        reached += (np.abs(np.nan_to_num(delta)) >= bar).sum(0)
        mean_reached += int((np.abs(mean) >= mean_bar).sum())
    p_values = np.where(np.isnan(observed), np.nan, reached / (1 + permutations))
    return p_values, mean_reached / (1 + permutations)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction for testing many classes at once.

    Args:
        p_values: (C,), NaN where no test was made; those are not counted among the tests.

    Returns:
        Adjusted p-values in the same order, at most 1.
    """
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return adjusted


def _resampled(counts: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Summed records (some, 3, C) of resample after resample, as exact integers in float64."""
    images = len(counts)
    if not images:
        raise InputError("there are no images to resample")
    flat = counts.reshape(images, -1).astype(np.float64)
    generator = np.random.default_rng(seed)
    # The step depends on the number of images alone, so that both sides of a pair draw the same ones.
    step = max(1, _CHUNK_BYTES // (8 * max(images, 3000)))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(0, images, (size, images)) + images * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images)
        yield (weights.astype(np.float64) @ flat).reshape(size, *counts.shape[1:])


def _interval(value: np.ndarray, draws: np.ndarray, level: float) -> Interval:
    tail = (100 - level) / 2
    if np.isnan(draws).any():
        # A class that a resample left out has no difference there; a class that all left out has no interval.
        low, high = np.full((2, *value.shape), np.nan)
        known = ~np.isnan(draws).all(0)
        low[known], high[known] = np.nanpercentile(draws[:, known], [tail, 100 - tail], axis=0)
    else:
        low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return Interval(value, low, high)


def _iou(areas: np.ndarray, truth: np.ndarray, rule: str) -> np.ndarray:
    """IoU (..., C) in percent from intersection and predicted area (..., 2, C); NaN for classes not counted."""
    union = truth + areas[..., 1, :] - areas[..., 0, :]
    counted = np.broadcast_to(truth > 0, union.shape) if rule == "cliptrase" else union > 0
    return 100 * np.divide(areas[..., 0, :], union, out=np.full(union.shape, np.nan), where=counted)


def _mean(iou: np.ndarray) -> np.ndarray:
    known = ~np.isnan(iou)
    return np.where(known, iou, 0).sum(-1) / np.maximum(known.sum(-1), 1)


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or not np.array_equal(a[:, TRUTH], b[:, TRUTH]):
        raise InputError("the two results are not of the same images and ground truth, so they cannot be paired")
