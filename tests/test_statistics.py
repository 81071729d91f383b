import time

import numpy as np
import pytest

from ovss.errors import InputError
from ovss.metrics import measure
from ovss.statistics import bootstrap, compare_bootstrap, holm, permutation_test


def random_counts(images, classes, seed=0, quality=0.5):
    generator = np.random.default_rng(seed)
    present = generator.random((images, classes)) < 0.4
    truth = generator.integers(1, 500, (images, classes)) * present
    inter = generator.binomial(truth, quality)
    return np.stack([inter, truth, inter + generator.integers(0, 50, (images, classes)) * present], axis=1)


def test_bootstrap_equals_resampling_one_by_one():
    counts = random_counts(30, 5)
    found = bootstrap(counts, resamples=400, seed=3)
    generator = np.random.default_rng(3)
    drawn = generator.integers(0, 30, (400, 30))
    slow = np.array([measure(counts[rows].sum(0)).mean for rows in drawn])
    assert found.value == pytest.approx(measure(counts.sum(0)).mean)
    assert found.low == pytest.approx(np.percentile(slow, 2.5, axis=0))
    assert found.high == pytest.approx(np.percentile(slow, 97.5, axis=0))


def test_interval_narrows_with_the_root_of_the_number_of_images():
    few, many = (bootstrap(random_counts(images, 6), seed=1) for images in (50, 800))
    ratio = (few.high - few.low)[0] / (many.high - many.low)[0]
    assert 2.5 < ratio < 6


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    population = random_counts(4000, 3, seed=9)
    truth = measure(population.sum(0)).mean[2]
    covered = 0
    for trial in range(200):
        sample = bootstrap(population[generator.integers(0, 4000, 60)], resamples=300, seed=trial)
        covered += sample.low[2] <= truth <= sample.high[2]
    assert 0.88 <= covered / 200 <= 0.99


def test_same_seed_same_interval():
    counts = random_counts(20, 4)
    assert all(np.array_equal(x, y) for x, y in zip(bootstrap(counts, seed=5), bootstrap(counts, seed=5), strict=True))
    assert not np.array_equal(bootstrap(counts, seed=5).low, bootstrap(counts, seed=6).low)


def test_two_thousand_resamples_of_2000_images_and_150_classes_take_under_three_seconds():
    counts = random_counts(2000, 150)
    start = time.perf_counter()
    bootstrap(counts)
    assert time.perf_counter() - start < 3


def test_pairing_makes_the_interval_of_a_difference_narrower_than_that_of_either_side():
    a = random_counts(100, 5, quality=0.5)
    b = a.copy()
    b[:, 0] = np.minimum(a[:, 1], a[:, 0] + 10 * (a[:, 1] > 20))
    b[:, 2] += b[:, 0] - a[:, 0]
    alone, paired = bootstrap(a), compare_bootstrap(a, b).mean
    assert paired.value[0] == pytest.approx(measure(b.sum(0)).mean[0] - measure(a.sum(0)).mean[0])
    assert paired.low[0] > 0
    assert paired.high[0] - paired.low[0] < 0.7 * (alone.high[0] - alone.low[0])


def test_equal_results_differ_by_nothing_with_certainty():
    counts = random_counts(40, 4)
    difference = compare_bootstrap(counts, counts)
    assert difference.mean.low.tolist() == difference.mean.high.tolist() == [0] * 4
    per_class, overall = permutation_test(counts, counts)
    assert per_class.tolist() == [1] * 4
    assert overall == 1


def test_permutation_p_value_equals_full_enumeration():
    a, b = random_counts(8, 3, quality=0.4), None
    generator = np.random.default_rng(4)
    b = a.copy()
    b[:, 0] = generator.binomial(a[:, 1], 0.6)
    iou = lambda counts: measure(counts.sum(0)).iou  # noqa: E731
    observed = np.abs(iou(b) - iou(a))
    reached = np.zeros(3)
    for mask in range(256):
        swap = np.array([mask >> k & 1 for k in range(8)], bool)[:, None, None]
        reached += np.abs(iou(np.where(swap, a, b)) - iou(np.where(swap, b, a))) >= observed - 1e-9
    per_class, _ = permutation_test(a, b, permutations=20000)
    assert per_class == pytest.approx(reached / 256, abs=0.015)


def test_permutation_p_values_are_uniform_when_nothing_differs():
    small = []
    for trial in range(200):
        generator = np.random.default_rng(trial)
        truth = generator.integers(50, 200, (25, 1))
        a, b = (
            np.stack([generator.binomial(truth, 0.5), truth, generator.binomial(truth, 0.5) + truth // 2], 1)
            for _ in range(2)
        )
        small.append(permutation_test(a, b, permutations=200, seed=trial)[1])
    assert 0.01 <= np.mean(np.array(small) <= 0.05) <= 0.1


def test_holm_of_many_classes_can_still_reach_five_percent():
    a = random_counts(120, 150, quality=0.3)
    b = a.copy()
    b[:, 0, 7] = a[:, 1, 7]
    b[:, 2, 7] = a[:, 1, 7]
    adjusted = holm(permutation_test(a, b)[0])
    assert adjusted[7] < 0.05
    assert np.delete(adjusted, 7) == pytest.approx(1)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.9])).tolist() == [1, 1]


def test_a_class_that_only_one_side_predicts_has_no_delta_but_costs_that_side():
    a = np.array([[[5, 0], [10, 0], [5, 0]], [[5, 0], [10, 0], [5, 0]]])
    b = a.copy()
    b[:, 2, 1] = 3
    difference = compare_bootstrap(a, b)
    assert np.isnan(difference.iou.value[1])
    assert difference.mean.value[0] == pytest.approx(-25)
    assert np.isnan(permutation_test(a, b)[0][1])


def test_results_of_other_images_cannot_be_paired():
    a, b = random_counts(10, 3), random_counts(10, 3, seed=1)
    for test in (compare_bootstrap, permutation_test):
        with pytest.raises(InputError, match="not of the same images"):
            test(a, b)
    with pytest.raises(InputError, match="no images"):
        bootstrap(a[:0])
