"""Figures on a dark page: words and lines can be seen, colours that mean something stay, and nothing stays behind."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.text import Text
from PIL import Image

from ovss.figures import (
    bar_figure,
    curve_figure,
    interval_figure,
    label_figure,
    layer_figure,
    map_figure,
    matrix_figure,
    stage_figure,
)
from ovss.figures.dark import PAPER, darkened

RED = Image.fromarray(np.full((64, 64, 3), (200, 30, 20), np.uint8))
ROWS = pd.DataFrame({"m": ["a", "b"], "v": [1.0, -2.0], "v_low": [0.5, -3.0], "v_high": [2.0, -1.0]})
LINES = pd.DataFrame(
    {"x": [1, 2] * 9, "y": np.arange(18.0), "k": [f"line {number}" for number in range(9) for _ in range(2)]}
)
LAYERS = pd.DataFrame({"image": 0, "layer": [1, 2, 1, 2], "measure": list("aabb"), "head": 0, "value": [1, 2, 3.5, 9]})
FIGURES = {
    "labels": lambda: label_figure(RED, {"map": np.eye(8, dtype=int)}, ("cat", "sofa")),
    "maps": lambda: map_figure(RED, {"map": np.eye(8)}, label="share", marks={"map": [(1, 2)]}),
    "matrix": lambda: matrix_figure({"": np.eye(3)}, label="share", rows=list("abc"), columns=list("abc")),
    "intervals": lambda: interval_figure(ROWS, "m", "v", "points", zero=True),
    "bars": lambda: bar_figure(ROWS.iloc[:1], value="v", name="m", label="points", low="v_low", high="v_high"),
    "curves": lambda: curve_figure(LINES, "x", "y", "k", "x", "y"),
    "layers": lambda: layer_figure(LAYERS, label="value", measures={"a": "A", "b": "B"}),
    "stages": lambda: stage_figure(["in", "out"], {"method": {"in": "changed"}}),
}


def pixels(figure: Any) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def colours(figure: Any) -> list[Any]:
    """Every colour that an artist of a figure has."""
    names = ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor", "get_markeredgecolor")
    found = [getattr(artist, name)() for artist in figure.findobj() for name in names if hasattr(artist, name)]
    return [to_rgba_array(colour).tolist() for colour in found]


def luminance(colour: Any) -> float:
    """Of WCAG 2.1."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a: Any, b: Any) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def own_ground(figure: Any, text: Text) -> bool:
    """Whether a text stands on a matrix or an image, or brings a halo."""
    held = [text for axes in figure.axes if axes.images or axes.collections for text in axes.texts]
    return bool(text.get_path_effects()) or any(text is each for each in held)


@pytest.mark.parametrize("name", FIGURES)
def test_on_a_dark_page_words_can_be_read_and_afterwards_nothing_has_changed(name: str) -> None:
    figure = FIGURES[name]().figure
    pixels(figure)  # ticks exist after that
    before = colours(figure)
    with darkened(figure):
        dark = pixels(figure)
        words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        faint = [
            text.get_text()
            for text in words
            if not own_ground(figure, text) and contrast(text.get_color(), PAPER) < 4.5
        ]
        assert words
        assert faint == []
    ground = [round(255 * channel) for channel in to_rgb(PAPER)]
    assert (dark[[0, 0, -1, -1], [0, -1, 0, -1]] == ground).all()
    assert colours(figure) == before


@pytest.mark.parametrize("name", ["curves", "layers"])
def test_every_line_stands_out_from_the_dark_page(name: str) -> None:
    figure = FIGURES[name]().figure
    plain = [contrast(line.get_color(), PAPER) for line in figure.axes[0].lines]
    with darkened(figure):
        lines = figure.axes[0].lines
        assert all(contrast(line.get_color(), PAPER) >= 3 for line in lines)
        assert all(to_rgb(line.get_color()) == to_rgb(line.get_markerfacecolor()) for line in lines)
    if name == "curves":
        assert min(plain) < 3, "one of the nine would be hard to see"


def test_an_image_a_matrix_and_the_keys_of_a_legend_keep_their_colours() -> None:
    for name in ("labels", "maps", "matrix"):
        figure = FIGURES[name]().figure
        for _ in range(3):
            light = pixels(figure)
        with darkened(figure):
            dark = pixels(figure)
        box = figure.axes[0].get_window_extent()
        rows = slice(*(int(light.shape[0] - y) for y in (box.y1 - 4, box.y0 + 4)))
        inside = rows, slice(int(box.x0) + 4, int(box.x1) - 4)
        assert (light[inside] == dark[inside]).all(), name
    figure: Any = FIGURES["labels"]().figure
    keys = [key.get_facecolor() for key in figure.legends[0].legend_handles]
    with darkened(figure):
        assert [key.get_facecolor() for key in figure.legends[0].legend_handles] == keys
