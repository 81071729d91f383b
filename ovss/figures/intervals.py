"""Numbers with their intervals: bars, points, and rank correlations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patheffects import withStroke

from ovss.errors import InputError
from ovss.figures.style import LINES, Plot, new_figure, plain, styled

_CHANCE = "#8a8a8a"
"""Colour of a difference whose interval holds zero."""


@styled
def bar_figure(
    frame: pd.DataFrame, *, value: str, name: str, label: str, low: str | None = None, high: str | None = None
) -> Plot:
    """Horizontal bars with their values, in the order of the frame, first row on top.

    Args:
        frame: One row per bar.
        value: Column of the lengths.
        name: Column of the names.
        label: What the length is, with its unit.
        low: Column of the lower ends of intervals.
        high: Column of the upper ends.

    Returns:
        The figure, and the frame.
    """
    figure = new_figure(0.7 + 0.26 * len(frame))
    axis = figure.subplots()
    places = list(range(len(frame)))
    sns.barplot(x=frame[value].to_numpy(float), y=places, orient="y", width=0.7, color=LINES[5], saturation=1, ax=axis)
    if low is not None and high is not None:
        axis.hlines(places, frame[low].to_numpy(float), frame[high].to_numpy(float), color="0.25", linewidth=0.8)
    axis.set_yticks(places, [plain(str(each), 44) for each in frame[name]])
    for place, length in enumerate(frame[value]):
        text = axis.annotate(f"{length:.1f}", (0, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        text.set_path_effects([withStroke(linewidth=3, foreground=LINES[5])])  # legible where an interval crosses it
    axis.set_xlabel(plain(label))
    axis.set_ylabel("")
    axis.tick_params(axis="y", length=0)
    return Plot(figure, frame.reset_index(drop=True))


@styled
def interval_figure(frame: pd.DataFrame, label: str, value: str, unit: str, zero: bool = False) -> Plot:
    """A point with its interval for each row, the largest on top.

    Args:
        frame: Columns `label`, `value`, `value_low`, `value_high`.
        label: Column of the names.
        value: Column of the values.
        unit: Axis title.
        zero: Draw a line at zero, and in grey the rows whose interval holds it.

    Returns:
        The figure, and the rows as drawn.
    """
    rows = frame.sort_values(value, kind="stable", ascending=False).reset_index(drop=True)
    figure = new_figure(0.9 + 0.26 * len(rows))
    axis = figure.subplots()
    low, high = rows[f"{value}_low"].to_numpy(float), rows[f"{value}_high"].to_numpy(float)
    sure = ~((low <= 0) & (high >= 0)) if zero else np.ones(len(rows), bool)
    colours = np.where(sure, LINES[0], _CHANCE)
    places = np.arange(len(rows))
    axis.hlines(places, low, high, color=colours, linewidth=2)
    axis.scatter(rows[value], places, s=25, color=colours, zorder=3)
    axis.set_yticks(places, [plain(str(name), 28) for name in rows[label]])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel(plain(unit))
    axis.grid(axis="x", color="#e3e3e3")
    axis.set_axisbelow(True)
    if zero:
        axis.axvline(0, color="#1b1b1b", linewidth=0.8)
    return Plot(figure, rows)


@styled
def dumbbell_figure(frame: pd.DataFrame, *, label: str, low: str, high: str, group: str, unit: str) -> Plot:
    """Two ends on a line for each row, in groups: what is furthest apart stands on top, in a group and of the groups.

    Args:
        frame: One row per line.
        label: Column of the names.
        low: Column of the smaller ends.
        high: Column of the larger ends.
        group: Column of the groups, whose names stand above their rows.
        unit: Axis title.

    Returns:
        The figure, and the rows as drawn, from top to bottom.
    """
    spread: Any = frame[high] - frame[low]
    order = spread.groupby(frame[group], sort=False).max().sort_values(ascending=False, kind="stable")
    ranked = frame.assign(_spread=spread, _group=order.index.get_indexer(frame[group]))
    rows = ranked.sort_values(["_group", "_spread"], ascending=[True, False], kind="stable").reset_index(drop=True)
    places = rows.index.to_numpy() + rows["_group"].to_numpy() + 1
    heads = [places[rows["_group"].to_numpy() == number][0] - 1 for number in range(len(order))]
    figure = new_figure(0.9 + 0.26 * (len(rows) + len(order)))
    axis = figure.subplots()
    axis.hlines(places, rows[low].to_numpy(float), rows[high].to_numpy(float), color=_CHANCE, linewidth=1.5)
    for ends, colour, name in ((rows[low], LINES[5], "smallest"), (rows[high], LINES[0], "largest")):
        axis.scatter(ends, places, s=28, color=colour, zorder=3, label=name)
    axis.set_yticks(places, [plain(str(name), 44) for name in rows[label]])
    for head, name in zip(heads, order.index, strict=True):
        axis.axhline(head - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0)
        words: Any = {"transform": axis.get_yaxis_transform(), "va": "center", "weight": "bold", "fontsize": 8}
        axis.text(0.01, float(head), plain(str(name)), **words)
    axis.set_ylim(places[-1] + 0.6, -0.6)
    axis.set_xlabel(plain(unit))
    axis.grid(axis="x", color="#e3e3e3")
    axis.set_axisbelow(True)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return Plot(figure, rows.drop(columns=["_spread", "_group"]))


@styled
def link_figure(links: pd.DataFrame, *, measures: Sequence[str] | None = None) -> Plot:
    """Rank correlation of measurements with quality, per block, with its bootstrap interval.

    Args:
        links: What `ovss.analysis.link_to_quality` returned; heads of a block are drawn beside each other, or, where a
            control was given, the plain correlation in grey beside the controlled one.
        measures: Which ones; None takes all.

    Returns:
        The figure, and the rows drawn.

    Raises:
        InputError: None of the measures is in the frame.
    """
    column: Any = links["measure"]
    names = list(measures or map(str, column.unique()))
    part: Any = links[column.isin(names)]
    if part.empty:
        raise InputError(f"none of the measures {', '.join(names)} is in the frame")
    figure = new_figure(0.4 + 1.5 * len(names))
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        one: Any = part[part["measure"] == name]
        if "partial" in part:
            points = [(one, "rho", "low", "high", _CHANCE), (one, "partial", "partial_low", "partial_high", LINES[0])]
        else:
            heads = list(one["head"].unique())
            chosen = [one[one["head"].isna()] if pd.isna(head) else one[one["head"] == head] for head in heads]
            points = [(rows, "rho", "low", "high", LINES[i % len(LINES)]) for i, rows in enumerate(chosen)]
        for position, (rows, value, low, high, colour) in enumerate(points):
            x = rows["layer"] + (position - (len(points) - 1) / 2) * 0.7 / max(len(points), 2)
            errors = np.clip([rows[value] - rows[low], rows[high] - rows[value]], 0, None)
            axis.errorbar(x, rows[value], errors, fmt="o", markersize=3, elinewidth=0.8, color=colour)
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_title(plain(name), loc="left")
        axis.set_ylabel("rank correlation")
        axis.set_ylim(-1, 1)
    axes[-1].set_xlabel("block; grey as it is, colour controlled" if "partial" in part else "block; one point per head")
    return Plot(figure, part.reset_index(drop=True))
