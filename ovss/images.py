"""Reading pictures as people have them: any mode, any orientation, with clear refusals."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ovss.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def to_rgb(image: Image.Image | np.ndarray) -> Image.Image:
    """A picture of any mode as 8-bit RGB.

    Grey is repeated, palettes are resolved, transparency is laid on white, CMYK is converted, 16-bit values keep their
    high byte.

    Args:
        image: PIL image, or array (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16.

    Raises:
        InputError: An array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise InputError("images of floating-point values have no defined brightness; convert to 8 or 16 bit first")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _from_array(values: np.ndarray) -> Image.Image:
    shape_fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4))
    if not shape_fits or values.dtype not in (np.uint8, np.uint16) or not values.size:
        raise InputError(
            f"an image array must be (H, W), (H, W, 3) or (H, W, 4) of uint8, not {values.shape} {values.dtype}"
        )
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture file completely, upright (EXIF orientation applied) and as 8-bit RGB.

    Raises:
        InputError: No such file, not an image, truncated, or so large that it may be a decompression bomb (PIL's limit
            stays on).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"image '{path}' {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        with warnings.catch_warnings():
            # Between one and two times PIL's limit it only warns; refusing there would reject honest large photographs.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                return to_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise InputError(f"'{path}' is not an image that can be read") from error
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"image '{path}' cannot be read: {error}") from error
