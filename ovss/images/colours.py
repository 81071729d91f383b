"""Class colours: fixed per index, distinct in hue and lightness, the same in masks, overlays and figures."""

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image

__all__ = ["DISTINCT", "class_colours", "overlay"]

_BASE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (148, 103, 189), (140, 86, 75), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
"""Okabe and Ito's colour-blind-safe colours, then further ones that stay apart from them."""
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
