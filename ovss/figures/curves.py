"""Curves: a measurement over the blocks, a result over a setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from ovss.errors import InputError
from ovss.figures.style import LINES, Plot, new_figure, plain, styled

_LEGEND_LETTERS = 100
"""Letters that fit into a row of the legend, with six for the space and the line of each name."""
_MARKERS = "os^Dv<>pP*"
"""Markers of the lines; the next one is taken when the colours begin again."""


@styled
def layer_figure(
    frame: pd.DataFrame, *, label: str, measures: Mapping[str, str] | None = None, x_label: str = "block"
) -> Plot:
    """Measurements over the blocks: a line of medians, and a band between the quartiles of images and heads.

    Args:
        frame: Tidy frame of `ovss.analysis`.
        label: What the values are, with their unit.
        measures: Measures to draw -> their names in the legend; None draws all under their own names.
        x_label: "block", or "hidden state" for measurements of those.

    Returns:
        The figure, and a frame (measure, layer, median, lower, upper, values).

    Raises:
        InputError: A measure is not in the frame.
    """
    known = [str(name) for name in frame["measure"].unique()]
    names = measures or {name: name for name in known}
    finite: Any = frame[frame["measure"].isin(list(names)) & frame["value"].notna()]
    for name in names:
        if name not in set(finite["measure"]):
            raise InputError(f"measure '{name}' has no finite values; the frame has {', '.join(known)}")
    figure = new_figure(2.6)
    axis = figure.subplots()
    shown = finite.assign(measure=finite["measure"].map({name: plain(text) for name, text in names.items()}))
    _lines(
        axis,
        shown,
        "layer",
        "value",
        "measure",
        [plain(text) for text in names.values()],
        errorbar=("pi", 50),
        estimator="median",
    )
    _labels(axis, x_label, label)
    _legend_above(axis, shown=len(names) > 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    summary = finite.groupby(["measure", "layer"], as_index=False)["value"].agg(
        median="median", lower=lambda v: v.quantile(0.25), upper=lambda v: v.quantile(0.75), values="size"
    )
    order = {name: place for place, name in enumerate(names)}
    return Plot(figure, summary.sort_values("measure", key=lambda column: column.map(order), kind="stable"))


@styled
def curve_figure(
    frame: pd.DataFrame, x: str, y: str, group: str | None, x_label: str, y_label: str, *, logarithmic: bool = False
) -> Plot:
    """Lines of `y` over `x`, one per group, with a band where the frame has `y_low` and `y_high`.

    Args:
        frame: Tidy rows.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        group: Column of the lines' names; None draws one line.
        x_label: Axis title with unit.
        y_label: Axis title with unit.
        logarithmic: Whether the horizontal axis is.

    Returns:
        The figure, and the frame.
    """
    figure = new_figure(3.2)
    axis = figure.subplots()
    rows = frame.assign(_line="" if group is None else [plain(str(name)) for name in frame[group]])
    names = list(dict.fromkeys(rows["_line"]))
    _lines(axis, rows, x, y, "_line", names, errorbar=None)
    if f"{y}_low" in frame and f"{y}_high" in frame:
        for name, colour in zip(names, _cycle(names), strict=True):
            part: Any = rows[rows["_line"] == name]
            part = part.sort_values(x)
            axis.fill_between(part[x], part[f"{y}_low"], part[f"{y}_high"], color=colour, alpha=0.15, linewidth=0)
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        places = sorted(set(frame[x]))
        if len(places) <= 10:
            axis.set_xticks(places, [f"{place:g}" for place in places])
    _labels(axis, x_label, y_label)
    axis.grid(color="#e3e3e3")
    axis.set_axisbelow(True)
    if group is not None:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return Plot(figure, frame)


def _lines(
    axis: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    hue: str,
    names: Sequence[str],
    errorbar: Any,
    estimator: str = "mean",
) -> None:
    sns.lineplot(
        frame,
        x=x,
        y=y,
        hue=hue,
        hue_order=names,
        style=hue,
        style_order=names,
        palette=_cycle(names),
        markers=[_MARKERS[place // len(LINES) % len(_MARKERS)] for place in range(len(names))],
        dashes=False,
        estimator=estimator,
        errorbar=errorbar,
        err_kws={"alpha": 0.15, "linewidth": 0} if errorbar else None,
        markersize=4,
        markeredgewidth=0,
        ax=axis,
        legend=False,
    )
    # A name without a single value, an interval of too few images for instance, has no line.
    drawn = [name for name in names if frame.loc[frame[hue] == name, y].notna().any()]
    for line, name in zip(axis.lines, drawn, strict=True):
        line.set_label(name)


def _cycle(names: Sequence[str]) -> list[str]:
    return [LINES[place % len(LINES)] for place in range(len(names))]


def _labels(axis: Axes, x_label: str, y_label: str) -> None:
    axis.set_xlabel(plain(x_label))
    axis.set_ylabel(plain(y_label))


def _legend_above(axis: Axes, *, shown: bool) -> None:
    """The legend stands above the axes because bands may fill them."""
    if shown:
        handles, names = axis.get_legend_handles_labels()
        columns = max(1, min(len(names), _LEGEND_LETTERS // (max(map(len, names)) + 6)))
        axis.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0)
