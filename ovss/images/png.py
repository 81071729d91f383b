"""Small PNG files of figures."""

import io

from PIL import Image

COLOURS = 256
"""Colours of a stored PNG."""


def compact_png(data: bytes) -> bytes:
    """A PNG with a palette of its own: a third of the bytes, without visible loss in a figure.

    Coverage counts rather than area, so that a small cross or the end of a colour bar keeps its colour.

    Args:
        data: Bytes of a PNG; one that has a palette already comes back as it is.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "P":
            return data
        small = image.convert("RGB").quantize(
            COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
        )
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
