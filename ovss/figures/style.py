"""One look for all figures: sizes, fonts, colours, and how a figure is stored."""

import functools
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure

from ovss.errors import InputError
from ovss.files import atomic_write

__all__ = ["MAPS", "RC", "SIGNED", "Plot"]

WIDTH = 6.4
"""Width of a figure in inches; text of 8 points stays readable when a column shrinks it by a third."""
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#7F7F7F", "#1B1B1B", "#8C564B")
"""Line colours: Okabe and Ito's, the yellow one left out, which is invisible on white; then four that stay apart."""
MAPS = "cividis"
"""Colour map of quantities without a middle; the same to all kinds of colour vision."""
SIGNED = "PuOr_r"
"""Colour map of quantities around zero."""
RC: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=LINES),
    "image.cmap": MAPS,
    "svg.fonttype": "path",
    "svg.hashsalt": "ovss",
}

_DIGITS = 4
"""Digits of the largest number of a figure; a figure of 6.4 inches at 160 dots has room for three."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Plot(NamedTuple):
    """A figure and the frame it shows."""

    figure: Figure
    frame: pd.DataFrame


def styled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: run a figure function under the common style without touching matplotlib's global settings.

    Numbers are rounded first, to less than a figure shows, so that the last bits of another processor do not reach the
    file.
    """

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with matplotlib.rc_context(RC):
            return function(*map(_drawable, args), **{name: _drawable(value) for name, value in kwargs.items()})  # pyright: ignore

    return run


def _drawable(value: Any) -> Any:
    """Floats of a frame or an array, also in a dictionary, rounded to `_DIGITS` of the largest; the rest as it is."""
    if isinstance(value, pd.DataFrame):
        floats = value.select_dtypes("float").columns
        return value.assign(**{name: _drawable(value[name].to_numpy()) for name in floats}) if len(floats) else value
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and np.isfinite(value).any():
        largest = float(np.abs(value[np.isfinite(value)]).max())
        return np.round(value, _DIGITS - 1 - math.floor(math.log10(largest))) + 0 if largest > 0 else value
    if isinstance(value, dict):
        return {name: _drawable(part) for name, part in value.items()}
    return value


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, sizes in inches, whose parts are laid out without overlap."""
    return Figure(figsize=(width, height), dpi=RC["figure.dpi"], layout="constrained")


def plain(text: str, width: int | None = None, lines: int = 3) -> str:
    """A user's words as they are: no markup is read in them.

    Args:
        text: Any text.
        width: Characters per line; None keeps one line.
        lines: Lines at most; the rest becomes an ellipsis.
    """
    text = " ".join(text.split())
    if width is not None:
        text = "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))
    return text.replace("$", r"\$")


def save_figure(plot: Plot | Figure, stem: str | Path) -> list[Path]:
    """Write a figure as STEM.png (200 dpi) and STEM.svg, the frame it shows beside it as STEM.csv.

    The files carry no date, so that the same figure gives the same bytes.

    Raises:
        InputError: The folder does not exist.
    """
    stem = Path(stem)
    if not stem.parent.is_dir():
        raise InputError(f"figure '{stem}' cannot be written: folder '{stem.parent}' does not exist")
    figure = plot.figure if isinstance(plot, Plot) else plot
    files = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    with matplotlib.rc_context(RC):
        for file in files:
            metadata: dict[str, Any] = {"Date": None} if file.suffix == ".svg" else {"Software": None}
            with atomic_write(file) as out:
                figure.savefig(out, format=file.suffix[1:], metadata=metadata)
    if isinstance(plot, Plot):
        files.append(stem.with_name(f"{stem.name}.csv"))
        with atomic_write(files[-1], "w", newline="") as out:
            plot.frame.to_csv(out, index=False)
    return files
