"""Generated sentences: one thing and many, gains, losses and neither, numbers that round to zero."""

import math

import pandas as pd
import pytest

from ovss.lab.sentences import Measured, counted, listed, peak, verb


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Measured(8.27, 1.04, 14.3, "points"), "+8.3 points [1.0, 14.3]"),
        (Measured(-3.5, -6.0, -1.0), "-3.5 [-6.0, -1.0]"),
        (Measured(0.02, -0.3, 0.4), "0.0 [-0.3, 0.4]"),
        (Measured(-0.02, -0.3, 0.4), "0.0 [-0.3, 0.4]"),
        (Measured(97.0, 95.0, 98.6, "%", 0, signed=False), "97 % [95, 99]"),
        (Measured(5.0, math.nan, math.nan), "+5.0"),
        (Measured(math.nan), "n/a"),
        (Measured(-0.004, -0.007, -0.0012, decimals=2), "-0.004 [-0.007, -0.001]"),
    ],
)
def test_a_number_is_written_with_its_interval(number, text):
    assert str(number) == text


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 2, "more"), (-2, -0.1, "less"), (-1, 1, "as"), (math.nan, math.nan, "as"), (0, 1, "as")],
)
def test_a_word_follows_the_interval_and_not_the_number(low, high, word):
    assert Measured(1.0, low, high).words("more", "less", "as") == word


def test_a_number_that_is_surely_not_zero_never_reads_as_zero():
    assert str(Measured(-0.004, -0.007, -0.001, decimals=1)).startswith("-0.004")
    assert str(Measured(1e-9, 1e-10, 1e-8, decimals=1)) == "0.0000 [0.0000, 0.0000]"


def test_counts_and_lists_agree_with_their_number():
    assert [counted(n, "block") for n in (0, 1, 2)] == ["no blocks", "1 block", "2 blocks"]
    assert counted(2, "class", "classes") == "2 classes"
    assert [verb(n, "differs", "differ") for n in (0, 1, 2)] == ["differ", "differs", "differ"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("curve", "text"),
    [
        ({1: 0.5, 2: 0.75, 3: 0.42}, "highest in block 2 (0.75), 0.42 in block 3, the last"),
        ({5: 0.90, 6: 0.974, 7: 0.97, 8: 0.969}, "highest in block 8, the last, and level from block 6 on (0.97)"),
        ({1: 0.1, 2: 0.2}, "highest in block 2, the last (0.20)"),
        ({1: 0.2, 2: 0.2}, "0.20 in block 2 and in all before it"),
        ({1: 0.2}, "0.20 in block 1"),
        ({1: 0.9, 2: 0.1, 3: 0.9}, "highest in block 1 and in block 3, the last (0.90)"),
        ({1: 0.1, 2: 0.9, 3: 0.9, 4: 0.5}, "highest in block 2 (0.90), 0.50 in block 4, the last"),
        ({1: float("nan")}, "without a value in any block"),
    ],
)
def test_a_peak_never_says_one_number_twice(curve, text):
    assert peak(pd.Series(curve), "in block") == text
