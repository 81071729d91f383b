"""Intervals of ranks: from comparisons that are certain, and as often right as they say."""

import numpy as np
import pytest
from scipy.stats import norm

from ovss.metrics.intervals import of_miou
from ovss.metrics.ranks import rank_intervals, ranks_of
from ovss.metrics.resampling import Replicates, Resampler

IMAGES = 40


def replicates(values, seed=0):
    """Means over images of one number per image and method (images, methods)."""
    counted = np.column_stack([values, np.ones(len(values))])
    return Resampler(len(values), 400, seed).of_sums(counted, lambda sums: sums[:, :-1] / sums[:, -1:])


def numbers(means, generator, spread=1.0, shared=3.0):
    """Per image, methods with these means, an image that is hard or easy for all, and each method's own luck."""
    hardness = generator.normal(0, shared, (IMAGES, 1))
    return hardness + means + generator.normal(0, spread, (IMAGES, len(means)))


def test_equal_scores_share_the_better_rank():
    assert ranks_of(np.array([[3.0, 5.0, 5.0, 1.0]])).tolist() == [[3, 1, 1, 4]]


def test_ranks_are_bounded_by_certain_comparisons():
    found = replicates(numbers(np.array([0.0, 0.05, 10.0, 20.0, -10.0]), np.random.default_rng(0)))
    low, high = rank_intervals(found, 0.0)
    assert low.tolist() == [3, 3, 2, 1, 5]
    assert high.tolist() == [4, 4, 2, 1, 5]
    assert [part.tolist() for part in rank_intervals(found.column(0), 0.0)] == [[1], [1]]


def test_no_comparison_is_certain_where_differences_have_no_interval():
    found = replicates(numbers(np.array([0.0, 50.0]), np.random.default_rng(0)))
    assert [part.tolist() for part in rank_intervals(found, 0.9)] == [[1, 1], [2, 2]]


def test_limits_lie_between_those_of_one_comparison_and_of_bonferroni():
    values = numbers(np.linspace(0, 0.8, 8), np.random.default_rng(3))
    found = replicates(values)
    low, high = rank_intervals(found, 0.0)
    bounds = {}
    for name, level in (("one", 95.0), ("all", 100 - 5 / 7)):
        difference = [
            [of_miou(replicates(values[:, [j]] - values[:, [i]]), 0.0, level) for j in range(8) if j != i]
            for i in range(8)
        ]
        better = np.array([sum(one.low[0] > 0 for one in row) for row in difference])
        worse = np.array([sum(one.high[0] < 0 for one in row) for row in difference])
        bounds[name] = (1 + better, 8 - worse)
    for least, between, most in ((bounds["all"][0], low, bounds["one"][0]), (bounds["one"][1], high, bounds["all"][1])):
        assert (least <= between).all()
        assert (between <= most).all()
    assert (low < high).any()


@pytest.mark.parametrize("means", [np.zeros(6), np.linspace(0, 1.0, 6), np.array([0, 0, 0, 0.8, 0.8, 2.0])])
def test_ranks_of_methods_that_are_nearly_alike_are_held(means):
    """Of 60 samples and 6 methods; 95 % is expected, and 60 samples are wrong by 3 points twice in three."""
    generator, held = np.random.default_rng(1), []
    best = 1 + (means > means[:, None]).sum(1)
    worst = len(means) - (means < means[:, None]).sum(1)
    for _ in range(60):
        low, high = rank_intervals(replicates(numbers(means, generator)), 0.0)
        held.append((low <= best) & (worst <= high))
    assert np.mean(held) >= 0.95 - norm.ppf(0.99) * np.sqrt(0.95 * 0.05 / 60)
    assert np.min(np.mean(held, axis=0)) >= 0.85


def test_percentiles_of_resampled_ranks_do_not_hold_where_methods_are_equal():
    """Why they are not used: each bound leaves out what is true of equal methods in many samples."""
    generator, held = np.random.default_rng(2), []
    for _ in range(60):
        drawn: Replicates = replicates(numbers(np.zeros(6), generator))
        low, high = np.percentile(ranks_of(drawn.resampled), [2.5, 97.5], axis=0, method="nearest")
        held.append((low <= 1) & (high >= 6))
    assert np.mean(held) < 0.9
