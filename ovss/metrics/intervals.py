"""How sure a number is: intervals over images, alone and paired, that hold as often as they say.

A percentile interval of mIoU does not. A class that few images show has an IoU whose expectation depends on how many do
(a ratio of sums), and one that the sample lacks but the method predicts counts as 0; so mIoU of n images is biased, and
resamples are biased once more. Here the jackknife estimates the bias (Quenouille 1956) and the error of what it
corrects (Tukey 1958), the bootstrap the error of the number as it is; see `_calibrated`. `docs/intervals.md` has the
simulation by which this was chosen. Images are the sampling unit throughout.

What an interval is about: the number that the same method would get on endlessly many images of the same kind, over
all classes that occur among these, seen in the sample or not.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from ovss.errors import InputError
from ovss.metrics import MEASURES, TRUTH
from ovss.metrics.resampling import RESAMPLES, Replicates, Resampler, seen_once

__all__ = [
    "MIN_IMAGES",
    "Difference",
    "Interval",
    "bootstrap",
    "compare_bootstrap",
    "difference",
    "in_percent",
    "of_means",
    "of_miou",
    "of_numbers",
]

_LEVEL = 95.0
MIN_IMAGES = 10
"""Below this no interval is given."""
MAX_SEEN_ONCE = 0.45
"""Above this share of classes that a single image shows, mIoU and mAcc have no interval: none of the simulated ones
holds where about half of the class list is out of sight."""
_MIN_CLASS_IMAGES = 5
"""A class in fewer images has no interval of its own."""
_OVER_CLASSES = np.array([name in ("mIoU", "mAcc") for name in MEASURES])


class Interval(NamedTuple):
    """Numbers with their intervals, each an array (..., 4) over mIoU, mAcc, pAcc and fwIoU, or (C,) over classes.

    Attributes:
        mean: The numbers as measured, never corrected.
        low: Lower ends; NaN where the images are too few for an interval.
        high: Upper ends, NaN likewise. `low <= mean <= high` everywhere else.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Difference(NamedTuple):
    """What method b changes against method a, on the same images.

    Attributes:
        mean: Differences of the four means in percentage points, (4,) each.
        iou: Differences of IoU per class, (C,) each; NaN for a class that either side does not count.
    """

    mean: Interval
    iou: Interval


def bootstrap(
    counts: np.ndarray, rule: str = "standard", *, resamples: int = RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> Interval:
    """The four means with calibrated intervals over images.

    Args:
        counts: Records (images, 3, C).
        rule: Metric rule, see `ovss.metrics.measure`.
        resamples: Number of resamples of as many images, drawn with replacement. They give a standard deviation only,
            which 1000 fix to 2 %.
        level: Coverage in percent.
        seed: Of the resampling; the same seed draws the same images whatever the counts.

    Returns:
        mIoU, mAcc, pAcc and fwIoU in percent, in this order, with `low` and `high` within 0..100. NaN ends stand for
        "too few images for an interval": below `MIN_IMAGES` images, and for mIoU and mAcc where more than
        `MAX_SEEN_ONCE` of the classes in the ground truth occur in a single image.

    Example:
        >>> from ovss.metrics import count_labels
        >>> rng = np.random.default_rng(0)
        >>> pairs = [rng.integers(0, 2, (2, 4, 4)) for _ in range(20)]
        >>> found = bootstrap(np.stack([count_labels(*pair, 2) for pair in pairs]))
        >>> [round(float(ends[0]), 1) for ends in (found.mean, found.low, found.high)]
        [34.3, 27.9, 40.6]

    Raises:
        InputError: There are no images, or the rule is unknown.
    """
    means, _ = Resampler(len(counts), resamples, seed).replicates(counts, rule)
    return in_percent(of_means(means, seen_once(counts), level))


def compare_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    rule: str = "standard",
    *,
    resamples: int = RESAMPLES,
    level: float = _LEVEL,
    seed: int = 0,
) -> Difference:
    """Paired intervals of b minus a: both sides of a resample see the same images.

    Args:
        a: Records (images, 3, C) of one method.
        b: Records of another one, same images in the same order.
        rule: Metric rule.
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.

    Raises:
        InputError: The two sides differ in images or in ground truth, so they are not a pair.
    """
    check_pair(a, b)
    resampler = Resampler(len(a), resamples, seed)
    return difference(a, b, resampler.replicates(a, rule), resampler.replicates(b, rule), level)


def difference(
    a: np.ndarray,
    b: np.ndarray,
    first: tuple[Replicates, Replicates],
    second: tuple[Replicates, Replicates],
    level: float = _LEVEL,
) -> Difference:
    """`compare_bootstrap` of records whose replicates are there already, by the same resampler.

    Args:
        a: Records (images, 3, C) of one method.
        b: Records of another one, same images in the same order.
        first: Replicates of a.
        second: Replicates of b.
        level: Coverage in percent.
    """
    means = of_means(second[0] - first[0], seen_once(a), level)
    images = ((a[:, 1:] > 0).any(axis=1) | (b[:, 1:] > 0).any(axis=1)).sum(axis=0)
    return Difference(
        means, _calibrated(second[1] - first[1], 0.0, np.where(images < _MIN_CLASS_IMAGES, 0, images), level)
    )


def of_means(means: Replicates, once: float, level: float = _LEVEL) -> Interval:
    """Intervals of the four means, or of differences of them.

    Args:
        means: Their replicates, k = 4.
        once: `seen_once` of the sample.
        level: Coverage in percent.
    """
    return _calibrated(means, once, _informed(means, once, _OVER_CLASSES), level)


def of_miou(numbers: Replicates, once: float, level: float = _LEVEL) -> Interval:
    """Intervals of any mIoUs, or of linear combinations of them.

    Args:
        numbers: Their replicates.
        once: `seen_once` of the sample.
        level: Coverage in percent.
    """
    return _calibrated(numbers, once, _informed(numbers, once, np.ones(len(numbers.estimate), dtype=bool)), level)


def of_numbers(numbers: Replicates, level: float = _LEVEL) -> Interval:
    """Intervals of numbers in which all images have a part, such as a share of all pixels.

    Args:
        numbers: Their replicates.
        level: Coverage in percent.
    """
    informed = _informed(numbers, 0.0, np.zeros(len(numbers.estimate), dtype=bool))
    return _calibrated(numbers, 0.0, informed, level)


def in_percent(found: Interval) -> Interval:
    """Intervals of percentages, cut at 0 and 100."""
    return Interval(found.mean, np.maximum(found.low, 0), np.minimum(found.high, 100))


def _calibrated(numbers: Replicates, once: float, images: np.ndarray, level: float = _LEVEL) -> Interval:
    """An interval that holds in small samples.

    Its centre is the number minus as much of its estimated bias as stands out of that estimate's own error; its width
    is Student's, with the jackknife's standard error, widened by the error of the correction. Where classes are seen
    once, the bias does not fall with the number of images as the jackknife supposes, so both grow with their share.

    Args:
        numbers: What was measured, resampled and left out.
        once: `seen_once` of the sample.
        images: Number of images that inform each number, (k,); 0 refuses the interval.
        level: Coverage in percent.
    """
    n = len(numbers.left_out)
    estimate = numbers.estimate
    bias = (n - 1) * (numbers.left_out - estimate).mean(axis=0)
    jackknife = (n - 1) * numbers.left_out.var(axis=0)
    plain = _variance(numbers.resampled)
    # The corrected number varies more than the number itself; the surplus is the variance of the estimated bias.
    surplus = np.maximum(0, jackknife - plain)
    share = np.divide(bias**2, bias**2 + surplus, out=np.zeros_like(bias), where=bias != 0)
    variance = np.maximum(jackknife, plain) + (0.25 + 4 * once) * surplus + 2 * (once * bias) ** 2
    centre = estimate - share * (1 + once) * bias
    quantile = student.ppf((1 + level / 100) / 2, np.maximum(images - 1, 1))
    width = np.where(images > 1, quantile, np.nan) * np.sqrt(variance)
    # A number outside its own interval would be read as a mistake, and including it never lowers the coverage.
    return Interval(estimate, np.minimum(estimate, centre - width), np.maximum(estimate, centre + width))


def check_pair(a: np.ndarray, b: np.ndarray) -> None:
    """Raise InputError unless two records are of the same images."""
    if a.shape != b.shape or not np.array_equal(a[:, TRUTH], b[:, TRUTH]):
        raise InputError("the two results are not of the same images and ground truth, so they cannot be paired")


def _informed(numbers: Replicates, once: float, over_classes: np.ndarray) -> np.ndarray:
    """Images that inform each number, (k,); 0 where they are too few."""
    images = len(numbers.left_out)
    refused = (images < MIN_IMAGES) | (over_classes & (once > MAX_SEEN_ONCE))
    return np.where(refused, 0, images)


def _variance(resampled: np.ndarray) -> np.ndarray:
    """Variance over the resamples that have the number; a class that a resample left out has none there."""
    known = ~np.isnan(resampled)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, resampled, 0).sum(axis=0) / count
    return np.where(known, (resampled - centre) ** 2, 0).sum(axis=0) / count
