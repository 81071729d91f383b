"""Whether pixel confidences can be trusted: calibration error and the ranking of errors, from summed histograms.

One record per image, fine bins of confidence against hits; records of images add up, and both measures follow from
their sum. So intervals come from resampling images, as for IoU.

- Expected calibration error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
- Area under the risk-coverage curve: Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
  Classifiers", ICLR 2019, section 2, with confidences that share a bin as ties in random order.
"""

import numpy as np
from scipy.special import digamma

from ovss.errors import InputError

_BINS = 1500
"""Bins of a record; a multiple of the usual 10, 15, 20, 25, 50 and 100 groups of the calibration error."""
PIXELS, HITS, CONFIDENCE = range(3)


def confidence_record(
    confidence: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    void: int = 255,
    bins: int | np.ndarray = _BINS,
) -> np.ndarray:
    """Histogram of one image over confidence.

    Bin b of B holds confidences in (b / B, (b + 1) / B], or those up to its upper end; 0 belongs to the first.

    Args:
        confidence: Probability of the predicted class (H, W), 0..1.
        prediction: Label map (H, W).
        truth: Ground truth (H, W); void pixels are left out.
        void: Value of pixels without ground truth.
        bins: Number of bins B of equal width; or their upper ends (B,), ascending, the last one 1.

    Returns:
        float64 (3, B): pixels, correctly labelled pixels, and the sum of confidences.

    Raises:
        InputError: Sizes differ, or a confidence is outside 0..1 or not a number.
    """
    if not confidence.shape == prediction.shape == truth.shape:
        raise InputError(
            f"confidence, prediction and ground truth have shapes {confidence.shape}, {prediction.shape} and "
            f"{truth.shape}; they must agree"
        )
    known = truth != void
    values = confidence[known].astype(np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # both are NaN where one value is
        outside = ~((values >= 0) & (values <= 1))
        raise InputError(f"confidence {values[outside][0]} is not a probability; it must lie in 0..1")
    if isinstance(bins, int):
        index, count = np.maximum(np.ceil(values * bins).astype(np.int64) - 1, 0), bins
    else:
        index, count = np.searchsorted(bins, values, side="left"), len(bins)
    hit = (prediction == truth)[known]
    missed, hits = np.bincount(2 * index + hit, minlength=2 * count).reshape(count, 2).T
    return np.stack([missed + hits, hits, np.bincount(index, values, minlength=count)]).astype(np.float64)


def expected_calibration_error(record: np.ndarray, groups: int = 15) -> np.ndarray:
    """Mean distance between confidence and accuracy: the sum over groups g of |hits_g - confidence_g| / pixels.

    Args:
        record: (..., 3, B), summed over images.
        groups: Number of groups of equal width; it divides B.

    Returns:
        (...), 0..1; NaN without pixels.

    Raises:
        InputError: The groups do not divide the bins.
    """
    bins = record.shape[-1]
    if groups < 1 or bins % groups:
        raise InputError(f"{bins} bins of confidence cannot be cut into {groups} groups of equal width")
    grouped = record.reshape(*record.shape[:-1], groups, bins // groups).sum(-1)  # (..., 3, groups)
    gaps = np.abs(grouped[..., HITS, :] - grouped[..., CONFIDENCE, :]).sum(-1)
    return _mean(gaps, record[..., PIXELS, :].sum(-1))


def area_under_risk_coverage(record: np.ndarray) -> np.ndarray:
    """Mean, over the k most confident pixels for each k, of their share of errors; lower is better.

    A bin with n pixels and m errors after a pixels with e errors adds the sum over j = 1..n of (e + m j / n) / (a + j),
    the expectation over the orders of its pixels. It equals m + (e - m a / n) (H(a + n) - H(a)), with H the harmonic
    numbers.

    Args:
        record: (..., 3, B), summed over images.

    Returns:
        (...), 0..1; NaN without pixels.
    """
    pixels = record[..., PIXELS, ::-1]  # most confident first
    errors = pixels - record[..., HITS, ::-1]
    before, errors_before = np.cumsum(pixels, -1) - pixels, np.cumsum(errors, -1) - errors
    share = np.divide(errors, pixels, out=np.zeros_like(errors), where=pixels > 0)
    harmonic = digamma(before + pixels + 1) - digamma(before + 1)
    area = errors + (errors_before - share * before) * harmonic
    return _mean(area.sum(-1), pixels.sum(-1))


def _mean(total: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return np.divide(total, pixels, out=np.full(np.shape(pixels), np.nan), where=pixels > 0)
