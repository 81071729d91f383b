"""Matrices as coloured cells with their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns

from ovss.errors import InputError
from ovss.figures.style import MAPS, SIGNED, WIDTH, Plot, new_figure, plain, styled

_MAX_NUMBERS = 1200
"""Cells up to which a matrix shows its numbers."""
_LONG_NAME = 8
"""Letters from which the names of columns are written aslant."""


@styled
def matrix_figure(
    matrices: np.ndarray | Mapping[str, np.ndarray],
    *,
    label: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    faint: np.ndarray | None = None,
    decimals: int = 2,
) -> Plot:
    """Matrices beside each other with their numbers in the cells, one colour scale for all.

    Args:
        matrices: Values (rows, columns), or several of equal shape by title; NaN leaves a cell empty. Numbers are left
            out where there are too many cells to read them.
        label: What the values are, with their unit.
        rows: Names of the rows.
        columns: Names of the columns.
        signed: Use a colour scale with its middle at 0, and write signs.
        limits: Ends of the colour scale; None takes the smallest and the largest value.
        faint: Cells (rows, columns) whose number is written in brackets because it may be chance.
        decimals: Of the numbers.

    Returns:
        The figure, and a frame (matrix, row, column, value).

    Raises:
        InputError: A matrix without two dimensions.

    Example:
        >>> plot = matrix_figure(np.eye(2), label="mIoU", rows=["clip", "naclip"], columns=["plain", "windows"])
        >>> list(plot.frame["value"])
        [1.0, 0.0, 0.0, 1.0]
    """
    arrays = {"": matrices} if isinstance(matrices, np.ndarray) else matrices
    arrays = {title: np.asarray(values, dtype=float) for title, values in arrays.items()}
    for title, values in arrays.items():
        if values.ndim != 2:
            raise InputError(f"matrix '{title}' must have two dimensions, not {values.shape}")
    height, width = next(iter(arrays.values())).shape
    low, high = limits or _limits(arrays, signed)
    numbers = width * height * len(arrays) <= _MAX_NUMBERS
    sign = "+" if signed else ""
    aslant = any(len(name) > _LONG_NAME for name in columns or ())
    names = 0.05 * max(map(len, columns or ("",))) if aslant else 0.0
    figure = new_figure(0.9 + max(0.8, 0.27 * height) + names, max(WIDTH, 1.6 + 0.42 * width * len(arrays)))
    axes = figure.subplots(1, len(arrays), squeeze=False)[0]
    for number, (axis, (title, values)) in enumerate(zip(axes, arrays.items(), strict=True)):
        texts = [[_number(value, f"{sign}.{decimals}f") for value in line] for line in values]
        if faint is not None:
            texts = np.where(faint & np.isfinite(values), np.char.add(np.char.add("(", texts), ")"), texts)
        sns.heatmap(
            values,
            vmin=low,
            vmax=high,
            cmap=SIGNED if signed else MAPS,
            annot=np.array(texts) if numbers else False,
            fmt="",
            annot_kws={"fontsize": 6.5 if width > 8 else 7},
            cbar=False,
            xticklabels=[plain(name, 28) for name in columns] if columns is not None else False,
            yticklabels=[plain(name, 28) for name in rows] if rows is not None and number == 0 else False,
            ax=axis,
        )
        axis.set_title(plain(title, 30))
        axis.tick_params(length=0)
        axis.tick_params(axis="y", rotation=0)
        axis.tick_params(axis="x", rotation=0)
        if aslant:
            for text in axis.get_xticklabels():
                text.set(rotation=45, ha="right", rotation_mode="anchor")
    bar = figure.colorbar(axes[0].collections[0], ax=list(axes), location="bottom", shrink=0.45, aspect=35, pad=0.03)
    bar.set_label(plain(label))
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return Plot(figure, _frame(arrays))


def heads_figure(frame: pd.DataFrame, measure: str, *, label: str) -> Plot:
    """One measure per block and head, averaged over images.

    Args:
        frame: Tidy frame of `ovss.analysis`.
        measure: Which measure; it must have heads.
        label: What the colour means, with its unit.

    Returns:
        The figure, and a frame (head, layer, value).

    Raises:
        InputError: The measure has no values per head.
    """
    part: Any = frame[(frame["measure"] == measure) & frame["head"].notna()]
    if part.empty:
        raise InputError(f"measure '{measure}' has no values per head in this frame")
    table = part.pivot_table(index="head", columns="layer", values="value", aggfunc="mean").sort_index(ascending=True)
    rows, columns = [f"head {i}" for i in table.index], [str(i) for i in table.columns]
    plot = matrix_figure(table.to_numpy(), label=label, rows=rows, columns=columns)
    plot.figure.axes[0].set_xlabel("block")
    return Plot(plot.figure, table.reset_index().melt("head", value_name="value"))


def _limits(arrays: Mapping[str, np.ndarray], signed: bool) -> tuple[float, float]:
    finite = np.concatenate([values[np.isfinite(values)] for values in arrays.values()])
    if not finite.size:
        return 0.0, 1.0
    if signed:
        reach = float(np.abs(finite).max()) or 1.0
        return -reach, reach
    return float(finite.min()), float(finite.max())


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else ""


def _frame(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    cells = [
        {"matrix": title, "row": row, "column": column, "value": float(values[row, column])}
        for title, values in arrays.items()
        for row, column in np.ndindex(values.shape)
    ]
    return pd.DataFrame(cells, columns=["matrix", "row", "column", "value"])
