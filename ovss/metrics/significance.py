"""Is the difference between two methods more than chance? Permutation tests on the same images, corrected p-values."""

from collections.abc import Iterator

import numpy as np

from ovss.metrics import INTERSECTION, PREDICTION, TRUTH
from ovss.metrics.intervals import check_pair
from ovss.metrics.resampling import CHUNK_BYTES

__all__ = ["holm", "permutation_test"]

_PERMUTATIONS = 2000
_ROUNDING = 1e-5
"""Percentage points by which sums in single precision may err; a permutation that changes nothing must not count as
smaller for it."""
_LIKELY = 0.02
"""A class whose p-value is above this after `_PERMUTATIONS` swaps gets no more of them."""


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
            least 2000, and up to 40 per class for the classes whose p-value is at most `_LIKELY` after these (stopping
            early where chance explains the data keeps the test valid: Besag and Clifford 1991).
        seed: Of the swaps.

    Returns:
        p-values per class (C,), NaN for a class that either method does not count, and the p-value of the mIoU
        difference.
    """
    check_pair(a, b)
    images, _, classes = a.shape
    start_with, at_most = permutations or _PERMUTATIONS, permutations or max(_PERMUTATIONS, 40 * classes)
    truth = a[:, TRUTH].sum(0).astype(np.float64)
    left, right = (side[:, [INTERSECTION, PREDICTION]].sum(0).astype(np.float64) for side in (a, b))  # (2, C)
    change = np.stack([b[:, row] - a[:, row] for row in (INTERSECTION, PREDICTION)], axis=1).astype(np.float32)

    def deltas(moved: np.ndarray, some: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        first = _iou(left[:, some] + moved, truth[some], rule)
        second = _iou(right[:, some] - moved, truth[some], rule)
        return second - first, _mean(second) - _mean(first)

    observed, observed_mean = deltas(np.zeros((2, classes)))
    bar, mean_bar = np.abs(np.nan_to_num(observed)) - _ROUNDING, abs(observed_mean) - _ROUNDING
    reached, mean_reached = np.ones(classes), 1
    drawn = np.full(classes, start_with)
    generator = np.random.default_rng(seed)
    for swaps in _swaps(generator, start_with, images, classes):
        delta, mean = deltas((swaps @ change.reshape(images, -1)).reshape(-1, 2, classes))
        reached += (np.abs(np.nan_to_num(delta)) >= bar).sum(0)
        mean_reached += int((np.abs(mean) >= mean_bar).sum())
    rare = np.flatnonzero(reached <= _LIKELY * (1 + start_with))
    if len(rare) and at_most > start_with:
        drawn[rare] = at_most
        narrow = change[:, :, rare].reshape(images, -1)
        for swaps in _swaps(generator, at_most - start_with, images, len(rare)):
            delta, _ = deltas((swaps @ narrow).reshape(-1, 2, len(rare)), rare)
            reached[rare] += (np.abs(np.nan_to_num(delta)) >= bar[rare]).sum(0)
    p_values = np.where(np.isnan(observed), np.nan, reached / (1 + drawn))
    return p_values, mean_reached / (1 + start_with)


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


def _swaps(generator: np.random.Generator, number: int, images: int, classes: int) -> Iterator[np.ndarray]:
    """Random halves of the images, as zeros and ones (some, images) in single precision, `number` in all."""
    step = max(1, CHUNK_BYTES // (8 * max(images, 2 * classes)))
    for start in range(0, number, step):
        size = min(step, number - start)
        bits = generator.integers(0, 256, (size, -(-images // 8)), dtype=np.uint8)
        yield np.unpackbits(bits, axis=1, count=images).astype(np.float32)


def _iou(areas: np.ndarray, truth: np.ndarray, rule: str) -> np.ndarray:
    """IoU (..., C) in percent from intersection and predicted area (..., 2, C); NaN for classes not counted."""
    union = truth + areas[..., 1, :] - areas[..., 0, :]
    counted = np.broadcast_to(truth > 0, union.shape) if rule == "cliptrase" else union > 0
    return 100 * np.divide(areas[..., 0, :], union, out=np.full(union.shape, np.nan), where=counted)


def _mean(iou: np.ndarray) -> np.ndarray:
    known = ~np.isnan(iou)
    return np.where(known, iou, 0).sum(-1) / np.maximum(known.sum(-1), 1)
