"""A figure in the colours of a dark page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

__all__ = ["PAPER", "darkened"]

PAPER = "#14171b"
"""Background of the dark page."""
_INK = "#e7eaee"
"""Text on it."""
_CONTRAST = 3.2
"""Least contrast of a coloured line or point against the page; WCAG 2.1 asks 3 of graphics."""
_WORDS = 4.6
"""Least contrast of words against the page; WCAG 2.1 asks 4.5."""
_NEUTRAL = 0.06
"""Largest difference of channels in a grey."""

_TICKS: dict[str, Any] = {"color": "xtick.color", "labelcolor": "xtick.color", "grid_color": "grid.color"}
"""Colours of an axis's ticks, and the setting that holds where they have none."""

_Undo = list[tuple[Callable[[Any], Any], Any]]


@contextmanager
def darkened(figure: Figure) -> Iterator[Figure]:
    """The figure on a dark ground while the block runs; afterwards it is as it was.

    Greys change places, from white as paper to black as ink. Coloured lines and points become lighter where they would
    be hard to see. Images, matrices and what is drawn on them, and the keys of legends keep their colours, because
    these mean something.

    Args:
        figure: Any figure of this package.

    Example:
        >>> from ovss.figures import matrix_figure
        >>> import numpy as np
        >>> figure = matrix_figure({"": np.eye(2)}, label="value").figure
        >>> with darkened(figure):
        ...     figure.get_facecolor() == to_rgba(PAPER)
        True
        >>> figure.get_facecolor()
        (1.0, 1.0, 1.0, 1.0)
    """
    undo: _Undo = []
    try:
        _change(figure.patch.set_facecolor, figure.get_facecolor(), undo)
        for legend in figure.legends:
            _legend(legend, undo)
        for text in figure.texts:
            _change(text.set_color, text.get_color(), undo, least=_WORDS)
        for axes in figure.axes:
            _axes(axes, undo)
        yield figure
    finally:
        for restore, colour in reversed(undo):
            restore(colour)


def _axes(axes: Axes, undo: _Undo) -> None:
    held = bool(axes.images) or any(isinstance(part, QuadMesh) for part in axes.collections)
    _change(axes.patch.set_facecolor, axes.get_facecolor(), undo)
    for spine in axes.spines.values():
        _change(spine.set_edgecolor, spine.get_edgecolor(), undo)
    for axis in (axes.xaxis, axes.yaxis):
        for text in (axis.label, axis.get_offset_text()):
            _change(text.set_color, text.get_color(), undo, least=_WORDS)
        now = axis.get_tick_params()  # of the axis, for ticks that come with the next draw, too
        for name, default in _TICKS.items():
            colour = now.get(name, rcParams[default])
            _change(partial(_tick_colour, axis, name), rcParams[default] if colour == "inherit" else colour, undo)
    for title in (axes.title, axes._left_title, axes._right_title):  # pyright: ignore[reportAttributeAccessIssue]
        _change(title.set_color, title.get_color(), undo, least=_WORDS)
    legend = axes.get_legend()
    if legend is not None:
        _legend(legend, undo)
    if not held:
        for part in axes.get_children():
            if part is not axes.patch and not isinstance(part, Legend) and part not in axes.spines.values():
                _drawn(part, undo)


def _tick_colour(axis: Axis, name: str, colour: Any) -> None:
    axis.set_tick_params(**{name: colour})


def _drawn(part: Artist, undo: _Undo) -> None:
    """Lines, points, boxes and words in a plot that holds no image."""
    if isinstance(part, Text):
        if not part.get_path_effects():  # with an effect it brings its own ground
            _change(part.set_color, part.get_color(), undo, least=_WORDS)
        box = getattr(part, "arrow_patch", None)
        if box is not None:
            _drawn(box, undo)
    elif isinstance(part, Line2D):
        face, edge = part.get_markerfacecolor(), part.get_markeredgecolor()  # before they follow the line
        _change(part.set_color, part.get_color(), undo, least=_CONTRAST)
        _change(part.set_markerfacecolor, face, undo, least=_CONTRAST)
        _change(part.set_markeredgecolor, edge, undo, least=_CONTRAST)
    elif isinstance(part, Patch):
        _change(part.set_facecolor, part.get_facecolor(), undo)
        _change(part.set_edgecolor, part.get_edgecolor(), undo, least=_CONTRAST)
    elif isinstance(part, Collection) and part.get_array() is None:
        _change(part.set_facecolor, part.get_facecolor(), undo, least=_CONTRAST)
        _change(part.set_edgecolor, part.get_edgecolor(), undo, least=_CONTRAST)


def _legend(legend: Legend, undo: _Undo) -> None:
    """Words of a legend, and its lines as those of the plot; its filled keys stay."""
    for text in (*legend.get_texts(), legend.get_title()):
        _change(text.set_color, text.get_color(), undo, least=_WORDS)
    for key in legend.legend_handles:
        if isinstance(key, Line2D):
            _drawn(key, undo)


def _change(setter: Callable[[Any], Any], colour: Any, undo: _Undo, *, least: float = 0) -> None:
    """Set a colour, or each of several, and note what it was."""
    undo.append((setter, colour))
    several = isinstance(colour, np.ndarray) and colour.ndim == 2
    setter([_dark(one, least) for one in colour] if several else _dark(colour, least))


def _dark(colour: Any, least: float) -> tuple[float, float, float, float]:
    """A colour on the dark page, with so much contrast at least where it is opaque."""
    red, green, blue, alpha = to_rgba(colour)
    rgb, paper, ink = (np.array(each) for each in ((red, green, blue), to_rgba(PAPER)[:3], to_rgba(_INK)[:3]))
    if alpha == 0:
        return red, green, blue, alpha
    if rgb.max() - rgb.min() <= _NEUTRAL:
        rgb = paper + (ink - paper) * (1 - rgb.mean())
        least = least if least == _WORDS else 0  # a faint line of a grid stays faint
    while alpha == 1 and _contrast(rgb, paper) < least:
        rgb = rgb + 0.1 * (1 - rgb)
    red, green, blue = (float(channel) for channel in rgb)
    return red, green, blue, alpha


def _contrast(a: np.ndarray, b: np.ndarray) -> float:
    """WCAG's contrast of two colours, 1 to 21."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
