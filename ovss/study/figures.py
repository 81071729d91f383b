"""Figures of the study's tables: intervals, matrices and curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ovss.figures.style import LINES, MAPS, SIGNED, WIDTH, new_figure, plain, styled

LABEL = 28
"""Characters of a label before it is broken."""


@styled
def interval_figure(frame: pd.DataFrame, label: str, value: str, unit: str, zero: bool = False) -> Figure:
    """A point with its interval for each row, the largest on top.

    Args:
        frame: Columns `label`, `value`, `value_low`, `value_high`.
        label: Column of the names.
        value: Column of the values.
        unit: Axis title.
        zero: Draw a line at zero and colour the rows whose interval leaves it out.
    """
    rows = frame.sort_values(value, kind="stable").reset_index(drop=True)
    figure = new_figure(0.9 + 0.26 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows.to_dict("records")):
        low, middle, high = row[f"{value}_low"], row[value], row[f"{value}_high"]
        sure = not zero or low > 0 or high < 0
        colour = LINES[0] if sure else "#8a8a8a"
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([middle], [place], marker="o", markersize=5, color=colour)
    axes.set_yticks(range(len(rows)), [plain(str(name), LABEL) for name in rows[label]])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#e3e3e3")
    axes.set_axisbelow(True)
    if zero:
        axes.axvline(0, color="#1b1b1b", linewidth=0.8)
    return figure


@styled
def matrix_figure(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    *,
    signed: bool = False,
    faint: np.ndarray | None = None,
    decimals: int = 1,
) -> Figure:
    """A matrix as coloured cells with their numbers.

    Args:
        values: (rows, columns); NaN leaves a cell empty.
        rows: Names of the rows.
        columns: Names of the columns.
        unit: Title of the colour bar.
        signed: Colours around zero.
        faint: Cells whose number is written in brackets, because it may be chance.
        decimals: Of the numbers.
    """
    height = 1.4 + 0.27 * len(rows) + 0.05 * max(map(len, columns), default=0)
    figure = new_figure(height, max(WIDTH, 2.2 + 0.42 * len(columns)))
    axes = figure.subplots()
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    bounds: dict[str, Any] = {"vmin": -limit, "vmax": limit, "cmap": SIGNED} if signed else {"cmap": MAPS}
    image = axes.imshow(values, aspect="auto", **bounds)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
            weak = faint is not None and bool(faint[row, column])
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            colour = "white" if dark else "black"
            axes.text(column, row, f"({text})" if weak else text, ha="center", va="center", color=colour, fontsize=6.5)
    axes.set_xticks(range(len(columns)), [plain(name, LABEL) for name in columns], rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), [plain(name, LABEL) for name in rows])
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label=unit, shrink=0.8)
    return figure


@styled
def curve_figure(
    frame: pd.DataFrame, x: str, y: str, group: str | None, xlabel: str, ylabel: str, *, logarithmic: bool = False
) -> Figure:
    """Lines of `y` over `x`, one per group, with a band where the frame has `y_low` and `y_high`.

    Args:
        frame: Tidy rows.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        group: Column of the lines' names; None draws one line.
        xlabel: Axis title with unit.
        ylabel: Axis title with unit.
        logarithmic: Whether the horizontal axis is.
    """
    figure = new_figure(3.2)
    axes = figure.subplots()
    groups = [(None, frame)] if group is None else list(frame.groupby(group, sort=False))
    for number, (name, part) in enumerate(groups):
        _line(axes, part.sort_values(x), x, y, None if name is None else plain(str(name)), number)
    if logarithmic:
        axes.set_xscale("log")
        places = sorted(set(frame[x]))
        axes.xaxis.set_minor_locator(NullLocator())
        if len(places) <= 10:
            axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color="#e3e3e3")
    if group is not None:
        figure.legend(loc="outside right upper")
    return figure


def _line(axes: Axes, part: pd.DataFrame, x: str, y: str, name: str | None, number: int) -> None:
    colour = LINES[number % len(LINES)]
    marker = "os^Dv<>pP*"[number // len(LINES) % 10]
    axes.plot(part[x], part[y], color=colour, marker=marker, markersize=4, label=name)
    if f"{y}_low" in part and f"{y}_high" in part:
        axes.fill_between(part[x], part[f"{y}_low"], part[f"{y}_high"], color=colour, alpha=0.15, linewidth=0)
