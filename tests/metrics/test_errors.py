"""The split of errors: the published counts, and an oracle that walks pixel by pixel."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import label_maps, neighbours, published_cases

from ovss.errors import InputError
from ovss.metrics import ERROR_COLUMNS, count_labels, error_counts


def table(prediction, truth, classes, **options):
    return np.stack(list(error_counts(prediction, truth, classes, **options).values()), axis=1)


def within(pixels, shape, width):
    """Pixels whose rounded distance to a set of pixels is at most the width."""
    rows, columns = shape
    return {
        (y, x)
        for y in range(rows)
        for x in range(columns)
        if any(round(math.hypot(y - v, x - u)) <= width for v, u in pixels)
    }


def pieces(pixels):
    left = set(pixels)
    while left:
        piece, frontier = set(), [left.pop()]
        while frontier:
            pixel = frontier.pop()
            piece.add(pixel)
            reached = neighbours(pixel, 1) & left
            left -= reached
            frontier += reached
        yield piece


def oracle(prediction, truth, label, void, width):
    """Columns of one class from sets of pixels, in the order of the definitions."""
    grid = {(y, x) for y in range(truth.shape[0]) for x in range(truth.shape[1])}
    ignored = {pixel for pixel in grid if truth[pixel] == void}
    guess = {pixel for pixel in grid if prediction[pixel] == label}
    true = {pixel for pixel in grid if truth[pixel] == label}
    hit, background = guess & true, grid - guess - true
    if width < 1:
        width = round(width * math.hypot(*truth.shape))
    between = within(hit, truth.shape, width) & within(background, truth.shape, width)
    split = []
    for region, other in ((guess, true), (true, guess)):
        wrong = region - other
        strip = set()
        for piece in pieces(wrong & within(wrong & between, truth.shape, width)):
            around = set().union(*(neighbours(pixel, 1) for pixel in piece))
            if around & hit and around & background:
                strip |= piece
        extent = set()
        for piece in pieces(region):
            if piece & hit:
                extent |= piece & wrong
        split.append([strip - ignored, extent - strip - ignored, wrong - strip - extent - ignored])
    (fp_boundary, fp_extent, fp_segment), (fn_boundary, fn_extent, fn_segment) = split
    columns = [ignored, hit, background - ignored]
    columns += [fp_boundary, fn_boundary, fp_extent, fn_extent, fp_segment, fn_segment]
    return [len(column) for column in columns]


@pytest.mark.parametrize("case", published_cases())
def test_counts_equal_those_of_the_published_code(case):
    assert list(case["columns"]) == list(ERROR_COLUMNS)
    assert np.array_equal(table(case["pred"], case["gt"], 6, width=case["width"].item()), case["counts"])


@given(maps=label_maps(), width=st.sampled_from([0, 0.01, 0.1, 0.4, 1, 2, 3, 40]))
@settings(max_examples=120, deadline=None)
def test_counts_equal_sets_of_pixels_on_small_maps(maps, width):
    prediction, truth = maps
    counts = table(prediction, truth, 4, width=width)
    assert counts.dtype == np.int64
    assert counts.tolist() == [oracle(prediction, truth, label, 255, width) for label in range(4)]


@given(maps=label_maps())
@settings(max_examples=60, deadline=None)
def test_columns_add_up_to_the_image_and_to_the_areas_of_the_records(maps):
    prediction, truth = maps
    prediction = np.where(prediction == 255, 0, prediction)
    counts = error_counts(prediction, truth, 4)
    assert (sum(counts.values()) == truth.size).all()
    wrong = {side: sum(counts[f"{side}_{kind}"] for kind in ("boundary", "extent", "segment")) for side in ("FP", "FN")}
    areas = np.stack([counts["TP"], counts["TP"] + wrong["FN"], counts["TP"] + wrong["FP"]])
    assert np.array_equal(areas, count_labels(prediction, truth, 4))


def test_a_moved_edge_is_a_boundary_error_a_wide_miss_one_of_extent_and_a_lost_piece_one_of_segment():
    truth = np.zeros((40, 60), dtype=np.uint8)
    truth[10:30, 5:20] = 1
    truth[10:14, 50:54] = 1
    prediction = np.zeros_like(truth)
    prediction[10:30, 5:18] = 1
    prediction[10:20, 40:43] = 2
    counts = error_counts(prediction, truth, 3, width=3)
    assert counts["FN_boundary"].tolist() == [0, 40, 0]
    assert counts["FN_segment"].tolist() == [0, 16, 0]
    assert counts["FP_segment"].tolist() == [0, 0, 30]
    prediction[10:30, 12:20] = 0
    assert error_counts(prediction, truth, 3, width=3)["FN_extent"][1] > 0


def test_labels_beyond_a_byte_and_their_own_void_are_counted():
    truth = np.array([[300, 300, 65535], [299, 300, 65535]])
    prediction = np.array([[300, 299, 299], [299, 300, 300]])
    counts = error_counts(prediction, truth, 301, void=65535, width=1)
    assert counts["TP"][[299, 300]].tolist() == [1, 2]
    assert counts["ignore"].tolist() == [2] * 301


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 1.5}, "whole number of pixels"),
        ({"width": -1}, "got -1"),
        ({"width": float("nan")}, "got nan"),
        ({"void": 1}, "void value 1 is also a class"),
        ({"truth": np.full((3, 4), 2)}, "label 2 of the ground truth is outside 0..1"),
        ({"prediction": np.full((3, 4), -1)}, "label -1 of the prediction is outside 0..1"),
        ({"prediction": np.zeros((4, 3), int)}, "must agree"),
        ({"prediction": np.zeros((3, 4))}, "must be integers"),
    ],
)
def test_maps_and_widths_without_meaning_are_refused(changes, words):
    arguments = {"prediction": np.zeros((3, 4), int), "truth": np.zeros((3, 4), int), "classes": 2, **changes}
    with pytest.raises(InputError, match=words):
        error_counts(**arguments)


def test_records_are_counted_without_loading_scipy():
    code = "import sys, ovss.metrics; print('scipy' in sys.modules)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "False"
