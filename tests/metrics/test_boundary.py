"""Boundary IoU: the published counts, and an oracle that walks pixel by pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import label_maps, neighbours, published_cases

from ovss.errors import InputError
from ovss.metrics import boundary_counts


def oracle(prediction, truth, label, void, share):
    """Boundary counts of one class, pixel by pixel."""
    rows, columns = truth.shape
    width = max(round(share * math.hypot(rows, columns)), 1)
    both = either = 0
    for y in range(rows):
        for x in range(columns):
            if truth[y, x] == void:
                continue
            window = [(v, u) for v, u in neighbours((y, x), width) if 0 <= v < rows and 0 <= u < columns]
            guess, true = prediction[y, x] == label, truth[y, x] == label
            guess_band = guess and any(prediction[pixel] != label for pixel in window)
            true_band = true and any(truth[pixel] != label for pixel in window)
            both += guess_band and true_band
            either += guess_band or true_band
    return [both, either]


@pytest.mark.parametrize("case", published_cases())
def test_counts_equal_those_of_the_published_code(case):
    assert np.array_equal(boundary_counts(case["pred"], case["gt"], 6), case["boundary_iou"])


@given(maps=label_maps(), share=st.sampled_from([0, 0.02, 0.1, 0.2, 0.5, 2]))
@settings(max_examples=120, deadline=None)
def test_counts_equal_a_walk_over_the_pixels_of_small_maps(maps, share):
    prediction, truth = maps
    expected = [oracle(prediction, truth, label, 255, share) for label in range(4)]
    found = boundary_counts(prediction, truth, 4, share=share)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_a_class_that_fills_the_image_has_no_boundary():
    whole = np.full((30, 20), 1, dtype=np.uint8)
    assert boundary_counts(whole, whole, 3).tolist() == [[0, 0]] * 3


def test_a_share_below_zero_is_refused():
    maps = np.zeros((3, 4), int)
    with pytest.raises(InputError, match="share of the diagonal"):
        boundary_counts(maps, maps, 2, share=-0.1)
