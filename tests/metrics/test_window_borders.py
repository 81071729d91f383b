"""Window border error: pairs counted one by one, nothing where the truth changes, no resize taken for a border."""

import numpy as np
import pytest

from ovss.errors import InputError
from ovss.metrics import border_counts, border_error
from ovss.segment.windows import Windows1D, axis_windows, border_pairs


def one_by_one(guess, truth, rows, columns, void):
    counts = np.zeros((2, 2), dtype=int)
    height, width = truth.shape
    for y in range(height):
        for x in range(width):
            for dy, dx, border in ((1, 0, rows), (0, 1, columns)):
                v, w = y + dy, x + dx
                if v == height or w == width or truth[y, x] != truth[v, w] or truth[y, x] == void:
                    continue
                side = 0 if border[y if dy else x] else 1
                counts[side] += guess[y, x] != guess[v, w], 1
    return counts


def test_counts_are_those_of_looking_at_every_pair():
    generator = np.random.default_rng(0)
    guess, truth = generator.integers(0, 3, (9, 13)), generator.choice([0, 1, 255], (9, 13), p=[0.6, 0.3, 0.1])
    rows, columns = generator.random(8) < 0.3, generator.random(12) < 0.3
    counts = border_counts(guess, truth, 3, rows=rows, columns=columns)
    assert counts.tolist() == one_by_one(guess, truth, rows, columns, 255).tolist()
    shares = border_error(counts)
    np.testing.assert_allclose(shares[:2], 100 * counts[:, 0] / counts[:, 1])
    assert shares[2] == shares[0] - shares[1]


def test_a_seam_along_the_borders_is_all_across_and_nothing_inside():
    guess, truth = np.zeros((8, 8), dtype=int), np.zeros((8, 8), dtype=int)
    guess[:, 4:] = 1
    columns = np.arange(7) == 3
    across, inside, excess = border_error(border_counts(guess, truth, 2, rows=np.zeros(7, bool), columns=columns))
    assert (across, inside, excess) == (100, 0, 100)
    truth[:, 4:] = 1
    counts = border_counts(guess, truth, 2, rows=np.zeros(7, bool), columns=columns)
    assert counts.tolist() == [[0, 0], [0, 104]]
    assert np.isnan(border_error(counts)[[0, 2]]).all()


def test_a_shift_of_the_windows_leaves_no_excess_in_noise():
    generator = np.random.default_rng(1)
    guess, truth = generator.integers(0, 2, (400, 400)), np.zeros((400, 400), dtype=int)
    border = np.arange(399) % 50 == 49
    assert abs(border_error(border_counts(guess, truth, 2, rows=border, columns=border))[2]) < 2


def test_borders_lie_where_windows_begin_and_end():
    axis = axis_windows(96, 64, 32)
    assert border_pairs(axis, 96).nonzero()[0].tolist() == [31, 63]
    assert not border_pairs(axis_windows(60, 64, 32), 60).any()
    assert not border_pairs(Windows1D(96, 96, (0,)), 192).any()


@pytest.mark.parametrize("target", [48, 72, 131, 192, 300])
def test_borders_follow_the_resize_to_the_label_map(target):
    axis = axis_windows(96, 64, 32)
    step = np.repeat([0.0, 1.0, 0.0], 32)  # what changes at the borders of the windows alone
    from ovss.ingredients.interpolation import bilinear_matrix

    resized = bilinear_matrix(target, 96).double().numpy() @ step
    assert (border_pairs(axis, target) == (np.abs(np.diff(resized)) > 1e-9)).all()


def test_borders_of_another_size_are_refused():
    labels = np.zeros((4, 5), dtype=int)
    with pytest.raises(InputError, match=r"borders between 4 rows and 4 columns do not fit a map of \(4, 5\)"):
        border_counts(labels, labels, 2, rows=np.zeros(3, bool), columns=np.zeros(3, bool))
