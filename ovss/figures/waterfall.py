"""A sum taken apart: one bar per row that is made of steps, each beginning where the one before ended."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ovss.errors import InputError
from ovss.figures.style import LINES, Plot, new_figure, plain, styled

_START = "#b9c0c7"
_UNKNOWN = "#ffffff"


@styled
def waterfall_figure(
    frame: pd.DataFrame, *, name: str, start: str, steps: Sequence[str], label: str, limit: float | None = None
) -> Plot:
    """Horizontal bars made of steps, in the order of the frame, first row on top.

    A step that leads back is drawn hatched and thin. Steps that are not known (NaN) follow each other and are drawn as
    one dashed piece, as long as what the known ones leave of `limit`.

    Args:
        frame: One row per bar.
        name: Column of the names.
        start: Column of the length before the first step.
        steps: Columns of the steps.
        label: What the length is, with its unit.
        limit: Where the last step leads. None: unknown steps are not drawn.

    Returns:
        The figure, and the frame.

    Raises:
        InputError: A column is missing.
    """
    missing = [column for column in (name, start, *steps) if column not in frame]
    if missing:
        raise InputError(f"the frame of a waterfall has no column '{missing[0]}'")
    figure = new_figure(1.2 + 0.3 * len(frame))
    axis = figure.subplots()
    starts, lengths = frame[start].to_numpy(float), frame[list(steps)].to_numpy(float)
    for place, (at, values) in enumerate(zip(starts, lengths, strict=True)):
        axis.barh(place, at, height=0.7, color=_START)
        _number(axis, at / 2, place, at)
        gap = np.nan if limit is None or np.isnan(values[-1:]).any() else limit - at - np.nansum(values)
        for number, length in enumerate(values):
            if np.isnan(length):
                if not np.isnan(gap):
                    axis.barh(place, gap, left=at, height=0.7, color=_UNKNOWN, edgecolor="0.55", linestyle="--")
                    _number(axis, at + gap / 2, place, gap)
                    at, gap = at + gap, np.nan
                continue
            back = length < 0
            axis.barh(
                place,
                abs(length),
                left=min(at, at + length),
                height=0.3 if back else 0.7,
                color=LINES[number % len(LINES)],
                hatch="////" if back else None,
                edgecolor="white",
                linewidth=0.5,
            )
            _number(axis, at + length / 2, place, length, "white")
            at += length
    for number, step in enumerate(steps):
        axis.barh(0, 0, color=LINES[number % len(LINES)], label=plain(step))
    axis.barh(0, 0, color=_START, label=plain(start))
    if np.isnan(lengths).any():
        axis.barh(0, 0, color=_UNKNOWN, edgecolor="0.55", linestyle="--", label="not separable")
    axis.set_yticks(range(len(frame)), [plain(str(each), 28) for each in frame[name]])
    axis.set_ylim(len(frame) - 0.4, -0.6)
    axis.set_xlabel(plain(label))
    axis.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=min(6, len(steps) + 2))
    return Plot(figure, frame.reset_index(drop=True))


def _number(axis: Any, x: float, y: float, value: float, colour: str = "0.1") -> None:
    """The value inside its piece, where there is room for it."""
    if abs(value) >= 4:
        axis.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
