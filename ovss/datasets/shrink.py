"""ADE847 as it is published: images and labels are shrunk before anything else.

The 847-class benchmark goes back to MaskFormer's `prepare_ade20k_full_sem_seg.py`, and all that report it use its
files. It resizes with OpenCV (INTER_LINEAR for the image, INTER_NEAREST for the labels) to a short side of 512 where
that is longer, rounds the other side to the nearest whole number, halves to even, and saves the image with Pillow as a
JPEG of default quality. All of it is repeated here, so that the original release and the prepared files give the same
samples; the ground truth is then scored at the shrunk size.
"""

import io

import numpy as np
from jaxtyping import Int64
from PIL import Image

SHORT_SIDE = 512
QUALITY = 75
"""Pillow's default, which the preparation saves with."""


def published_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) in pixels of the prepared files for an image of this size."""
    if width >= height > SHORT_SIDE:
        return round(width / height * SHORT_SIDE), SHORT_SIDE
    if height >= width > SHORT_SIDE:
        return SHORT_SIDE, round(height / width * SHORT_SIDE)
    return width, height


def shrink_image(image: Image.Image) -> Image.Image:
    """An RGB image as the preparation leaves it; images that are small enough are compressed again, too."""
    size = published_size(image.width, image.height)
    if size != image.size:
        from ovss.images.resizing import opencv_bilinear  # imports torch, which listing data sets does without

        image = Image.fromarray(opencv_bilinear(np.asarray(image), size))
    compressed = io.BytesIO()
    image.save(compressed, "JPEG", quality=QUALITY)
    with Image.open(compressed) as again:
        return again.convert("RGB")


def shrink_labels(labels: Int64[np.ndarray, "H W"]) -> Int64[np.ndarray, "h w"]:
    """Labels at the size of the prepared files, nearest pixel by OpenCV's rule (rounded down, no half-pixel shift)."""
    height, width = labels.shape
    columns, rows = (
        _nearest(old, new) for old, new in zip((width, height), published_size(width, height), strict=True)
    )
    return labels[rows[:, None], columns]


def _nearest(old: int, new: int) -> np.ndarray:
    step = 1.0 / (new / old)
    return np.minimum(np.floor(np.arange(new) * step).astype(np.int64), old - 1)
