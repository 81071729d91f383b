"""A waterfall: each piece begins where the one before ended, and the last one ends at the limit."""

import numpy as np
import pandas as pd
import pytest

from ovss.errors import InputError
from ovss.figures import waterfall_figure

STEPS = ["presence", "place", "resolution"]


def pieces(frame, limit=100.0):
    plot = waterfall_figure(frame, name="method", start="mIoU", steps=STEPS, label="percent", limit=limit)
    bars = [bar for bar in plot.figure.axes[0].patches if bar.get_width() > 0]
    rows = [[] for _ in range(len(frame))]
    for bar in bars:
        rows[round(bar.get_y() + bar.get_height() / 2)].append((bar.get_x(), bar.get_x() + bar.get_width()))
    return rows


def test_steps_follow_each_other_also_backwards():
    frame = pd.DataFrame({"method": ["a"], "mIoU": [40.0], "presence": [30.0], "place": [-10.0], "resolution": [40.0]})
    assert pieces(frame)[0] == [(0, 40), (40, 70), (60, 70), (60, 100)]


def test_unknown_steps_are_one_piece_up_to_what_follows():
    frame = pd.DataFrame(
        {
            "method": ["a", "b"],
            "mIoU": [40.0, 50.0],
            "presence": [np.nan, 5.0],
            "place": [np.nan, 5.0],
            "resolution": 10.0,
        }
    )
    assert pieces(frame)[0] == [(0, 40), (40, 90), (90, 100)]
    assert pieces(frame, None)[0] == [(0, 40), (40, 50)]


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="no column 'place'"):
        waterfall_figure(
            pd.DataFrame({"method": ["a"], "mIoU": [1.0], "presence": [1.0]}),
            name="method",
            start="mIoU",
            steps=STEPS,
            label="percent",
        )
