"""Effects of crossed ingredients, on counts whose mIoU is known by hand."""

import numpy as np
import pytest

from ovss.errors import InputError
from ovss.metrics.effects import Factor, design, effects

FACTORS = [Factor("a", {"x": 0}, {"x": 1}), Factor("b", {"y": 0}, {"y": 1})]


def counts_of(percent: float, images: int = 12) -> np.ndarray:
    """Counts of one class in which `percent` of 100 pixels per image are found, and nothing else is predicted."""
    return np.tile(np.array([[percent], [100], [percent]]), (images, 1, 1)).astype(np.int64)


def test_a_design_holds_every_combination_with_its_parameters():
    assert design(FACTORS) == {
        "-": {"x": 0, "y": 0},
        "b": {"x": 0, "y": 1},
        "a": {"x": 1, "y": 0},
        "a + b": {"x": 1, "y": 1},
    }


def test_factors_that_set_the_same_parameter_are_refused():
    with pytest.raises(InputError, match="different parameters"):
        design([FACTORS[0], Factor("c", {"x": 0}, {"x": 2})])


def test_effects_alone_on_average_and_on_top_are_read_off_the_cube():
    counts = {"-": counts_of(10), "a": counts_of(20), "b": counts_of(15), "a + b": counts_of(45)}
    main, pairs = effects(counts, FACTORS)
    found = main.set_index(["ingredient", "reading"])["effect"]
    assert found["a", "alone"] == pytest.approx(10)
    assert found["a", "on top"] == pytest.approx(30)
    assert found["a", "average"] == pytest.approx(20)
    assert found["b", "alone"] == pytest.approx(5)
    both = pairs.set_index(["ingredient", "with"])["effect"]
    assert both["a", "b"] == both["b", "a"] == pytest.approx(20)


def test_equal_images_leave_no_width_and_unequal_ones_do():
    counts = {"-": counts_of(10), "a": counts_of(20), "b": counts_of(10), "a + b": counts_of(20)}
    main, _ = effects(counts, FACTORS)
    assert np.allclose(main["effect_low"], main["effect_high"])
    counts["a"][0, [0, 2]] = 90
    main, _ = effects(counts, FACTORS)
    row = main.set_index(["ingredient", "reading"]).loc[("a", "alone")]
    assert row["effect_low"] < row["effect"] < row["effect_high"]
    again, _ = effects(counts, FACTORS)
    assert main.equals(again)


def test_effects_of_a_handful_of_images_have_no_interval():
    counts = {"-": counts_of(10, 6), "a": counts_of(20, 6), "b": counts_of(10, 6), "a + b": counts_of(20, 6)}
    for frame in effects(counts, FACTORS):
        assert frame["effect"].notna().all()
        assert frame["effect_low"].isna().all()
