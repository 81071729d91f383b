import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from ovss.errors import InputError
from ovss.metrics import measure
from ovss.metrics.intervals import MAX_SEEN_ONCE, MIN_IMAGES, bootstrap, compare_bootstrap
from ovss.metrics.resampling import Resampler, seen_once

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from interval_coverage import coverage
from simulated_images import WORLDS, interchangeable, population


def random_counts(images, classes, seed=0, quality=0.5, shown=0.4):
    generator = np.random.default_rng(seed)
    present = generator.random((images, classes)) < shown
    truth = generator.integers(1, 500, (images, classes)) * present
    inter = generator.binomial(truth, quality)
    return np.stack([inter, truth, inter + generator.integers(0, 50, (images, classes)) * present], axis=1)


def improved(a):
    b = a.copy()
    b[:, 0] = np.minimum(a[:, 1], a[:, 0] + 10 * (a[:, 1] > 20))
    b[:, 2] += b[:, 0] - a[:, 0]
    return b


@pytest.mark.parametrize("rule", ["standard", "cliptrase"])
def test_replicates_equal_resampling_and_leaving_out_one_by_one(rule):
    counts = random_counts(30, 5, shown=0.2)
    means, ious = Resampler(30, 40, seed=3).replicates(counts, rule)
    drawn = np.random.default_rng(3).integers(0, 30, (40, 30))
    resampled = [measure(counts[rows].sum(0), rule) for rows in drawn]
    left_out = [measure(np.delete(counts, image, axis=0).sum(0), rule) for image in range(30)]
    assert means.estimate == pytest.approx(measure(counts.sum(0), rule).mean)
    for found, expected in ((means.resampled, resampled), (means.left_out, left_out)):
        assert found == pytest.approx(np.array([one.mean for one in expected]))
    for found, expected in ((ious.resampled, resampled), (ious.left_out, left_out)):
        assert found == pytest.approx(np.array([one.iou for one in expected]), nan_ok=True)


def test_the_bias_of_a_ratio_is_the_one_of_the_textbook():
    """Sampling theory: the bias of I / U is (R var(U) - cov(I, U)) / (n mean(U)^2) to first order (Cochran 1977)."""
    counts = random_counts(400, 1, shown=1.0)
    inter, union = counts[:, 0, 0], (counts[:, 1] + counts[:, 2] - counts[:, 0])[:, 0]
    covariance = np.cov(inter, union)
    expected = (inter.sum() / union.sum() * covariance[1, 1] - covariance[0, 1]) / (400 * union.mean() ** 2)
    means, _ = Resampler(400, 10).replicates(counts)
    bias = 399 * (means.left_out - means.estimate).mean(0)[0]
    assert bias == pytest.approx(100 * expected, rel=0.02)


def test_the_mean_of_an_interval_is_the_number_as_measured_and_lies_inside():
    for seed in range(20):
        counts = random_counts(40, 12, seed, shown=0.1)
        found = bootstrap(counts, resamples=100)
        assert found.mean.tolist() == measure(counts.sum(0)).mean.tolist()
        assert (found.low <= found.mean).all()
        assert (found.mean <= found.high).all()
        assert (found.low >= 0).all()
        assert (found.high <= 100).all()


def test_interval_narrows_with_the_root_of_the_number_of_images():
    few, many = (bootstrap(random_counts(images, 6), seed=1) for images in (50, 800))
    ratio = (few.high - few.low) / (many.high - many.low)
    assert (ratio > 2.5).all()
    assert (ratio < 6).all()


@pytest.fixture(scope="module")
def simulated():
    """21 classes, 300 images, 200 samples; the true number is that of the 20,000 images the samples come from."""
    return coverage(population(WORLDS[1], 21, 20_000, seed=5), 300, 200, seed=1, more=False).set_index("method")


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says(simulated):
    found = simulated.loc["calibrated"]
    least, most = binom.ppf([0.001, 0.999], 200, 0.95) / 2
    assert (found["refused"] == 0).all()
    assert found["coverage"].between(least, most).all(), found[["measure", "coverage"]]


@pytest.mark.slow
def test_paired_intervals_of_equal_methods_leave_out_zero_one_time_in_twenty():
    pair = interchangeable(population(WORLDS[0], 21, 10_000, seed=2, methods=2))
    found = coverage(pair, 300, 200, seed=3).set_index("method").loc["calibrated"]
    assert found["truth"].abs().max() < 1e-9
    least, most = binom.ppf([0.001, 0.999], 200, 0.95) / 2
    assert found["coverage"].between(least, most).all(), found[["measure", "coverage"]]


def test_where_bias_is_large_percentiles_fail_and_the_calibrated_interval_holds():
    everything = population(WORLDS[6], 150, 20_000, seed=1)
    found = coverage(everything, 300, 60, seed=0, more=False).set_index(["method", "measure"])["coverage"]
    assert found["percentile", "fwIoU"] < 60
    assert found["calibrated", "fwIoU"] > 88
    assert found["calibrated", "mIoU"] > 88


def test_too_few_images_have_no_interval_but_a_number():
    found = bootstrap(random_counts(MIN_IMAGES - 1, 3))
    assert np.isfinite(found.mean).all()
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert np.isfinite(bootstrap(random_counts(MIN_IMAGES, 3)).low).all()


def test_means_over_classes_have_no_interval_where_half_of_the_classes_were_seen_once():
    counts = random_counts(60, 3)
    rare = np.zeros((60, 3, 4), dtype=np.int64)
    rare[range(4), 1, range(4)] = 50
    counts = np.concatenate([counts, rare], axis=2)
    assert seen_once(counts) == pytest.approx(4 / 7)
    assert seen_once(counts) > MAX_SEEN_ONCE
    assert np.isnan(bootstrap(counts).low).tolist() == [True, True, False, False]
    assert np.isnan(compare_bootstrap(counts, counts).mean.high).tolist() == [True, True, False, False]


def test_a_class_in_a_handful_of_images_has_a_difference_without_interval():
    a = random_counts(60, 3)
    a[:, :, 2] = 0
    a[:4, :, 2] = [5, 30, 9]
    found = compare_bootstrap(a, improved(a)).iou
    assert np.isfinite(found.mean).all()
    assert np.isnan(found.low).tolist() == [False, False, True]


def test_same_seed_same_interval():
    counts = random_counts(20, 4)
    assert all(np.array_equal(x, y) for x, y in zip(bootstrap(counts, seed=5), bootstrap(counts, seed=5), strict=True))
    assert not np.array_equal(bootstrap(counts, seed=5).low, bootstrap(counts, seed=6).low)


def test_pairing_makes_the_interval_of_a_difference_narrower_than_that_of_either_side():
    a = random_counts(100, 5, quality=0.5)
    b = improved(a)
    alone, paired = bootstrap(a), compare_bootstrap(a, b).mean
    assert paired.mean[0] == pytest.approx(measure(b.sum(0)).mean[0] - measure(a.sum(0)).mean[0])
    assert paired.low[0] > 0
    assert paired.high[0] - paired.low[0] < 0.7 * (alone.high[0] - alone.low[0])


def test_the_difference_of_the_other_way_round_is_the_mirror_image():
    a = random_counts(50, 6)
    there, back = compare_bootstrap(a, improved(a)), compare_bootstrap(improved(a), a)
    for one, other in zip(there, back, strict=True):
        assert one.mean == pytest.approx(-other.mean)
        assert one.low == pytest.approx(-other.high)


def test_equal_results_differ_by_nothing_with_certainty():
    counts = random_counts(40, 4)
    found = compare_bootstrap(counts, counts)
    assert found.mean.low.tolist() == found.mean.high.tolist() == [0] * 4


def test_a_class_that_only_one_side_predicts_has_no_delta_but_costs_that_side():
    a = np.array([[[5, 0], [10, 0], [5, 0]], [[5, 0], [10, 0], [5, 0]]])
    b = a.copy()
    b[:, 2, 1] = 3
    found = compare_bootstrap(a, b)
    assert np.isnan(found.iou.mean[1])
    assert found.mean.mean[0] == pytest.approx(-25)


def test_results_of_other_images_cannot_be_paired():
    a, b = random_counts(10, 3), random_counts(10, 3, seed=1)
    with pytest.raises(InputError, match="not of the same images"):
        compare_bootstrap(a, b)
    with pytest.raises(InputError, match="no images"):
        bootstrap(a[:0])
    with pytest.raises(InputError, match="of 9 images, the resampler draws from 10"):
        Resampler(10).replicates(a[:9])
