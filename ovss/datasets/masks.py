"""Reading label files: index images of one channel, nothing else about them assumed."""

from pathlib import Path

import numpy as np
from PIL import Image

from ovss.errors import InputError
from ovss.images import opened

_INDEX_MODES = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")


def open_image(path: Path) -> Image.Image:
    """A label image, decoded completely and otherwise untouched.

    Raises:
        InputError: The file is missing, no regular file, no image, damaged, or beyond PIL's limit of pixels.
    """
    with opened(path, "mask") as image:
        image.load()
        return image


def read_index_png(path: Path) -> np.ndarray:
    """Codes (H, W) of a palette, grey or 16-bit grey image; palettes give their indices, not their colours.

    Raises:
        InputError: The image has colour channels, or cannot be read.
    """
    return as_codes(open_image(path), path)


def as_codes(image: Image.Image, path: Path) -> np.ndarray:
    """Codes (H, W), int64, of a decoded label image.

    Raises:
        InputError: The image has colour channels.
    """
    if image.mode not in _INDEX_MODES:
        raise InputError(f"mask '{path}' is a {image.mode} image; a mask has one channel of class indices")
    return np.asarray(image).astype(np.int64)
