import numpy as np
import pytest
from test_intervals import random_counts

from ovss.errors import InputError
from ovss.metrics import measure
from ovss.metrics.significance import holm, permutation_test


def test_equal_results_have_the_p_value_one():
    counts = random_counts(40, 4)
    per_class, overall = permutation_test(counts, counts)
    assert per_class.tolist() == [1] * 4
    assert overall == 1


def test_permutation_p_value_equals_full_enumeration():
    a = random_counts(8, 3, quality=0.4)
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


def far_apart(images, classes):
    """Two methods of which one finds everything and the other nothing: no random swap of many images does as much."""
    a = np.tile(np.array([[[0], [100], [0]]]), (images, 1, classes))
    b = np.tile(np.array([[[100], [100], [100]]]), (images, 1, classes))
    return a, b


@pytest.mark.parametrize("permutations", [19, 99, 999])
def test_the_data_themselves_are_one_of_the_permutations(permutations):
    """The smallest p-value of R random permutations is 1 / (1 + R), never 0 (Phipson and Smyth 2010)."""
    per_class, overall = permutation_test(*far_apart(60, 2), permutations=permutations)
    assert per_class.tolist() == [1 / (1 + permutations)] * 2
    assert overall == 1 / (1 + permutations)


def test_a_permutation_that_does_exactly_as_much_counts():
    """With two images, half of all swaps leave a difference as large as the observed one: p = 1/2, not 0."""
    per_class, overall = permutation_test(*far_apart(2, 1), permutations=4000)
    assert per_class == pytest.approx([0.5], abs=0.04)
    assert overall == pytest.approx(0.5, abs=0.04)


def test_many_classes_get_more_permutations_only_where_chance_does_not_explain_them():
    a = random_counts(120, 150, quality=0.3)
    b = a.copy()
    b[:, 0, 7] = a[:, 1, 7]
    b[:, 2, 7] = a[:, 1, 7]
    generator = np.random.default_rng(0)
    b[:, 0, 8] = generator.binomial(a[:, 1, 8], 0.3)
    p_values = permutation_test(a, b)[0]
    assert p_values[7] == 1 / 6001
    assert (p_values[8] * 2001) % 1 == pytest.approx(0, abs=1e-9)
    adjusted = holm(p_values)
    assert adjusted[7] < 0.05
    assert np.delete(adjusted, 7) == pytest.approx(1)


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


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.9])).tolist() == [1, 1]


def test_holm_rejects_what_its_step_down_rule_rejects():
    """The rule as Holm (1979) states it: the k-th smallest p-value is held against alpha / (m - k + 1)."""
    generator = np.random.default_rng(0)
    for alpha in (0.05, 0.3):
        for _ in range(50):
            p_values = generator.random(12) ** 3
            rejected = np.zeros(12, bool)
            for rank, index in enumerate(np.argsort(p_values)):
                if p_values[index] > alpha / (12 - rank):
                    break
                rejected[index] = True
            assert ((holm(p_values) <= alpha) == rejected).all()
    assert holm(np.array([0.0125, 0.5, 0.5, 0.5]))[0] == 0.05


def test_a_class_that_only_one_side_predicts_has_no_p_value():
    a = np.array([[[5, 0], [10, 0], [5, 0]], [[5, 0], [10, 0], [5, 0]]])
    b = a.copy()
    b[:, 2, 1] = 3
    assert np.isnan(permutation_test(a, b)[0][1])


def test_results_of_other_images_cannot_be_tested():
    with pytest.raises(InputError, match="not of the same images"):
        permutation_test(random_counts(10, 3), random_counts(10, 3, seed=1))
