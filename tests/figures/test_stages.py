"""The diagram of what methods change."""

import pytest

from ovss.errors import InputError
from ovss.figures import stage_figure

STAGES = ["input", "attention", "output"]


def test_every_change_stands_beside_its_stage_and_below_its_method():
    changes = {"one": {"attention": "keys meet keys"}, "two": {"input": "repaired", "output": "mean"}}
    plot = stage_figure(STAGES, changes)
    assert list(plot.frame.itertuples(index=False, name=None)) == [
        ("one", "attention", "keys meet keys"),
        ("two", "input", "repaired"),
        ("two", "output", "mean"),
    ]
    places = {text.get_text().replace("\n", " "): text.get_position() for text in plot.figure.axes[0].texts}
    assert places["keys meet keys"][0] == places["one"][0] < places["repaired"][0] == places["two"][0]
    assert places["keys meet keys"][1] == places["attention"][1]
    assert places["input"][1] == places["repaired"][1] < places["attention"][1] < places["mean"][1]


def test_texts_stay_within_their_boxes():
    plot = stage_figure(STAGES, {name: {"attention": "mean of key-key of all blocks"} for name in "abcde"})
    plot.figure.canvas.draw()
    axis = plot.figure.axes[0]
    boxes = [patch.get_window_extent() for patch in axis.patches]
    for text in axis.texts:
        if len(text.get_text()) > 1:
            inside = text.get_window_extent()
            assert any(box.x0 <= inside.x0 and inside.x1 <= box.x1 and box.y0 <= inside.y0 for box in boxes), text


def test_a_stage_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="'one' changes stage 'values', which is none of input, attention, output"):
        stage_figure(STAGES, {"one": {"values": "x"}})
