"""Class colours: fixed per index, or per name where one expects a colour; the same in masks, overlays and figures."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

__all__ = ["DISTINCT", "class_colours", "named_colours", "overlay", "paint"]

_BASE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (148, 103, 189), (140, 86, 75), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
"""Okabe and Ito's colour-blind-safe colours, then further ones that stay apart from them."""
_NAMED = {
    "ladybird": (60, 0, 53), "watermelon": (25, 85, 68), "heart": (218, 66, 134), "moon": (239, 168, 206),
    "house": (143, 74, 179), "tree": (25, 42, 0), "star": (255, 250, 20), "lifebuoy": (255, 180, 56),
    "mushroom": (218, 105, 105), "fish": (255, 183, 176), "flower": (182, 35, 255), "flag": (30, 30, 90),
    "grass": (103, 206, 85), "sand": (255, 235, 165), "water": (0, 60, 160), "brick": (169, 50, 20),
    "wood": (87, 92, 46), "sky": (97, 176, 255), "snow": (192, 198, 255), "stones": (80, 80, 117),
    "tiles": (47, 160, 179), "lava": (245, 45, 8), "background": (127, 127, 127),
}  # fmt: skip
"""Near what the thing looks like, and apart from each other and from white to all kinds of colour vision."""
DISTINCT = len(_BASE)
"""How many classes have colours that are easy to tell apart."""


@lru_cache(maxsize=16)
def class_colours(classes: int) -> np.ndarray:
    """Colour of each class index, (classes, 3) uint8; the first twelve are colour-blind safe, others vary in hue."""
    colours: list[tuple[int, ...]] = list(_BASE[:classes])
    for index in range(len(colours), classes):
        hue = (index * 0.618034) % 1
        lightness = (0.42, 0.58, 0.72)[index % 3]
        colours.append(tuple(round(255 * value) for value in colorsys.hls_to_rgb(hue, lightness, 0.65)))
    result = np.array(colours, dtype=np.uint8).reshape(classes, 3)
    result.setflags(write=False)
    return result


def named_colours(names: Sequence[str]) -> np.ndarray | None:
    """Colour of each class by its name, (classes, 3) uint8; None where one of the names has none."""
    if not all(name in _NAMED for name in names):
        return None
    return np.array([_NAMED[name] for name in names], dtype=np.uint8).reshape(len(names), 3)


def paint(labels: np.ndarray, classes: int | np.ndarray) -> np.ndarray:
    """A label map as colours: (H, W, 3) uint8; indices outside 0..classes - 1 (void) are white.

    Args:
        labels: Class indices (H, W).
        classes: Number of classes, or a colour for each (classes, 3) in place of the palette's.
    """
    table = class_colours(classes) if isinstance(classes, int) else classes
    valid = (labels >= 0) & (labels < len(table))
    white = np.full((1, 3), 255, np.uint8)
    return np.concatenate([table, white])[np.where(valid, labels, len(table))]


def overlay(image: Image.Image, labels: np.ndarray, classes: int | np.ndarray, alpha: float = 0.6) -> Image.Image:
    """Class colours laid over an image of the same size.

    Args:
        image: RGB image.
        labels: Class indices (H, W).
        classes: As in `paint`.
        alpha: Opacity of the colours, 0 to 1.
    """
    return Image.blend(image, Image.fromarray(paint(labels, classes)), alpha)
