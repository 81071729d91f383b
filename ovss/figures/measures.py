"""Measurements as curves over the blocks, matrices with their numbers, bars, and rank correlations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ovss.errors import InputError
from ovss.figures.style import LINES, MAPS, SIGNED, Plot, new_figure, plain, styled

LEGEND_LETTERS = 100
"""Letters that fit into a row of the legend, with six for the space and the line of each name."""
MOST_NUMBERS = 400
"""Cells up to which a matrix shows its numbers."""


@styled
def layer_figure(
    frame: pd.DataFrame, *, label: str, measures: Mapping[str, str] | None = None, x_label: str = "block"
) -> Plot:
    """Measurements over the blocks: mean line, and a band from the lower to the upper quartile of images and heads.

    Args:
        frame: Tidy frame of `ovss.analysis`.
        label: What the values are, with their unit.
        measures: Measures to draw -> their names in the legend; None draws all under their own names.
        x_label: "block", or "hidden state" for measurements of those.

    Returns:
        The figure, and a frame (measure, layer, mean, lower, upper, values).

    Raises:
        InputError: A measure is not in the frame.
    """
    names = measures or {name: name for name in _measures(frame)}
    figure = new_figure(2.6)
    axis = figure.subplots()
    rows = []
    for name, colour in zip(names, _cycle(LINES, len(names)), strict=True):
        part: Any = frame[(frame["measure"] == name) & frame["value"].notna()]
        if part.empty:
            raise InputError(f"measure '{name}' has no finite values; the frame has {', '.join(_measures(frame))}")
        summary = part.groupby("layer")["value"].agg(
            mean="mean", lower=lambda v: v.quantile(0.25), upper=lambda v: v.quantile(0.75), values="size"
        )
        axis.plot(summary.index, summary["mean"], marker="o", markersize=4, color=colour, label=plain(names[name]))
        axis.fill_between(summary.index, summary["lower"], summary["upper"], color=colour, alpha=0.15, linewidth=0)
        rows.append(summary.reset_index().assign(measure=name))
    _finish(axis, x_label, label, legend=len(names) > 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    order = ["measure", "layer", "mean", "lower", "upper", "values"]
    return Plot(figure, pd.concat(rows, ignore_index=True).reindex(columns=order))


@styled
def heads_figure(frame: pd.DataFrame, measure: str, *, label: str) -> Plot:
    """One measure per block and head, averaged over images.

    Args:
        frame: Tidy frame of `ovss.analysis`.
        measure: Which measure; it must have heads.
        label: What the colour means, with its unit.
    """
    part: Any = frame[(frame["measure"] == measure) & frame["head"].notna()]
    if part.empty:
        raise InputError(f"measure '{measure}' has no values per head in this frame")
    table = part.pivot_table(index="head", columns="layer", values="value", aggfunc="mean").sort_index(ascending=True)
    rows, columns = [f"head {i}" for i in table.index], [str(i) for i in table.columns]
    plot = _matrix({"": table.to_numpy()}, label=label, rows=rows, columns=columns, cmap=MAPS, limits=None, decimals=2)
    plot.figure.axes[0].set_xlabel("block")
    return Plot(plot.figure, table.reset_index().melt("head", value_name="value"))


@styled
def matrix_figure(
    matrices: Mapping[str, np.ndarray],
    *,
    label: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    decimals: int = 2,
) -> Plot:
    """Small matrices beside each other with their numbers in the cells, one colour scale for all.

    Args:
        matrices: Title -> values (rows, columns); numbers are left out where there are more than 400.
        label: What the values are.
        rows: Names of the rows.
        columns: Names of the columns.
        signed: Use a colour scale with its middle at 0.
        limits: Ends of the colour scale.
        decimals: Of the numbers.

    Returns:
        The figure, and a frame (matrix, row, column, value).
    """
    arrays = {title: np.asarray(values, dtype=float) for title, values in matrices.items()}
    for title, values in arrays.items():
        if values.ndim != 2:
            raise InputError(f"matrix '{title}' must have two dimensions, not {values.shape}")
    cmap = SIGNED if signed else MAPS
    if signed and limits is None:
        reach = max(np.abs(values).max() for values in arrays.values()) or 1.0
        limits = (-reach, reach)
    return _matrix(arrays, label=label, rows=rows, columns=columns, cmap=cmap, limits=limits, decimals=decimals)


def _matrix(
    arrays: Mapping[str, np.ndarray],
    *,
    label: str,
    rows: Sequence[str] | None,
    columns: Sequence[str] | None,
    cmap: str,
    limits: tuple[float, float] | None,
    decimals: int,
) -> Plot:
    low = limits[0] if limits else min(np.nanmin(values) for values in arrays.values())
    high = limits[1] if limits else max(np.nanmax(values) for values in arrays.values())
    height, width = next(iter(arrays.values())).shape
    panel = 6.0 / len(arrays)
    figure = new_figure(float(np.clip(min(panel * height / width, 0.42 * height), 0.8, 4.0)) + 0.9)
    axes = figure.subplots(1, len(arrays), squeeze=False)[0]
    drawn = None
    for number, (axis, (title, values)) in enumerate(zip(axes, arrays.items(), strict=True)):
        drawn = axis.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
        axis.set_title(plain(title, 30))
        axis.spines[:].set_visible(False)
        _ticks(axis, rows if number == 0 else None, columns, values.shape)
        if values.size * len(arrays) <= MOST_NUMBERS:
            _write_numbers(axis, values, (low, high), cmap, decimals)
    assert drawn is not None
    figure.colorbar(drawn, ax=list(axes), location="bottom", shrink=0.45, aspect=35, pad=0.03).set_label(plain(label))
    frame = pd.DataFrame(
        [
            {"matrix": title, "row": r, "column": c, "value": float(values[r, c])}
            for title, values in arrays.items()
            for r, c in np.ndindex(values.shape)
        ]
    )
    return Plot(figure, frame)


def _ticks(axis: Axes, rows: Sequence[str] | None, columns: Sequence[str] | None, shape: tuple[int, ...]) -> None:
    axis.tick_params(length=0)
    for ticks, labels, count in ((axis.set_yticks, rows, shape[0]), (axis.set_xticks, columns, shape[1])):
        ticks(
            range(count) if labels is not None else [], [plain(name) for name in labels] if labels is not None else []
        )


def _write_numbers(axis: Axes, values: np.ndarray, limits: tuple[float, float], cmap: str, decimals: int) -> None:
    span = (limits[1] - limits[0]) or 1.0
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if np.isnan(value):
            continue
        place = (value - limits[0]) / span
        ink = "black" if (place > 0.55 if cmap == MAPS else 0.25 < place < 0.75) else "white"
        axis.text(column, row, f"{value:.{decimals}f}", ha="center", va="center", fontsize=7, color=ink)


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
    """
    figure = new_figure(0.7 + 0.26 * len(frame))
    axis = figure.subplots()
    lengths = frame[value].to_numpy(float)
    places = np.arange(len(frame))[::-1]
    errors = None
    if low is not None and high is not None:
        errors = np.clip([lengths - frame[low].to_numpy(float), frame[high].to_numpy(float) - lengths], 0, None)
    axis.barh(places, lengths, height=0.7, color=LINES[5], xerr=errors, error_kw={"elinewidth": 0.8, "ecolor": "0.25"})
    axis.set_yticks(places, [plain(str(each), 44) for each in frame[name]])
    for place, length in zip(places, lengths, strict=True):
        text = axis.annotate(f"{length:.1f}", (0, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        text.set_path_effects([withStroke(linewidth=3, foreground=LINES[5])])  # legible where an interval crosses it
    _finish(axis, label, "", legend=False)
    axis.tick_params(axis="y", length=0)
    return Plot(figure, frame.reset_index(drop=True))


@styled
def link_figure(links: pd.DataFrame, *, measures: Sequence[str] | None = None) -> Plot:
    """Rank correlation of measurements with quality, per block, with its bootstrap interval.

    Args:
        links: What `ovss.analysis.link_to_quality` returned; heads of a block are drawn beside each other.
        measures: Which ones; None takes all.
    """
    names = list(measures or _measures(links))
    part: Any = links[links["measure"].isin(names)]
    if part.empty:
        raise InputError(f"none of the measures {', '.join(names)} is in the frame")
    figure = new_figure(0.4 + 1.5 * len(names))
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        one: Any = part[part["measure"] == name]
        heads = list(one["head"].unique())
        for position, head in enumerate(heads):
            same = one[one["head"].isna()] if pd.isna(head) else one[one["head"] == head]
            x = same["layer"] + (position - (len(heads) - 1) / 2) * 0.7 / max(len(heads), 1)
            errors = [same["rho"] - same["low"], same["high"] - same["rho"]]
            colour = LINES[position % len(LINES)]
            axis.errorbar(x, same["rho"], np.clip(errors, 0, None), fmt="o", markersize=3, elinewidth=0.8, color=colour)
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_title(plain(name), loc="left")
        axis.set_ylabel("rank correlation")
        axis.set_ylim(-1, 1)
    axes[-1].set_xlabel("block; one point per head")
    return Plot(figure, part.reset_index(drop=True))


def _finish(axis: Axes, x_label: str, y_label: str, legend: bool) -> None:
    axis.set_xlabel(plain(x_label))
    axis.set_ylabel(plain(y_label))
    if legend:  # above the axes, for bands may fill them
        names = axis.get_legend_handles_labels()[1]
        columns = max(1, min(len(names), LEGEND_LETTERS // (max(map(len, names)) + 6)))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0)


def _measures(frame: pd.DataFrame) -> list[str]:
    column: Any = frame["measure"]
    return [str(name) for name in column.unique()]


def _cycle(colours: Sequence[str], count: int) -> list[str]:
    return [colours[i % len(colours)] for i in range(count)]
