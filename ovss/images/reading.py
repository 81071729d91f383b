"""Reading images as people have them: any mode, any orientation, with clear refusals."""

import contextlib
import glob
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ovss.errors import InputError

_HEIF = (".heic", ".heif")
"""Files of phones, which PIL reads where pillow-heif is installed."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", *_HEIF)


def to_rgb(image: Image.Image | np.ndarray) -> Image.Image:
    """An image of any mode as 8-bit RGB.

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
    """Read an image file completely, upright (EXIF orientation applied) and as 8-bit RGB.

    Raises:
        InputError: No such file, not a regular file, not an image, truncated, or so large that it may be a
            decompression bomb (PIL's limit stays on).
    """
    path = Path(path)
    with opened(path, "image") as image:
        return to_rgb(ImageOps.exif_transpose(image))


def image_size(path: Path) -> tuple[int, int]:
    """Upright (width, height) of an image file; only its header is read.

    Raises:
        InputError: As `load_image`, as far as the header shows it.
    """
    with opened(path, "image") as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.height, image.width) if turned else (image.width, image.height)


@contextlib.contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """An image file, open as long as the block runs; whatever its decoder raises there is an `InputError`.

    Args:
        path: The file.
        what: What it is, for messages: "image" or "mask".

    Raises:
        InputError: Missing, not a regular file, not an image, damaged, or beyond PIL's limit of pixels.
    """
    check_regular(path, what)
    if path.suffix.lower() in _HEIF:
        _read_heif(path, what)
    try:
        with warnings.catch_warnings():
            # Between one and two times PIL's limit it only warns; refusing there would reject honest large photographs.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except UnidentifiedImageError as error:
        raise InputError(f"{what} '{path}' is not an image that can be read") from error
    except Exception as error:
        # On damaged files PIL's decoders raise whatever they stumble over: struct.error, IndexError, RuntimeError.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} '{path}' cannot be read: {reason}") from error


def _read_heif(path: Path, what: str) -> None:
    """Teach PIL to read HEIC files.

    Raises:
        InputError: pillow-heif is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(f"{what} '{path}' needs pillow-heif: pip install 'ovss[heic]', or save it as JPEG") from error
    register_heif_opener()


def check_regular(path: Path, what: str) -> None:
    """Refuse what is not a regular file before it is opened: reading a pipe or a device may never end.

    Args:
        path: The file; a link counts as what it points to.
        what: What it is, for messages.

    Raises:
        InputError: Missing, a folder, a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{what} '{path}' {'does not exist' if what == 'image' else 'is missing'}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{what} '{path}' cannot be read: {error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file (a pipe, socket or device)"
        raise InputError(f"{what} '{path}' is {kind}")


def find_images(paths: Sequence[str | Path]) -> tuple[list[Path], int]:
    """The image files named or lying in the folders named, each once, and how many other files lie there.

    Args:
        paths: Files, folders, or patterns such as "holiday/*.jpg", which shells hand on when they are quoted.

    Raises:
        InputError: A path does not exist, is an address or standard input, a folder holds no image, or a pattern fits
            none.
    """
    files: dict[Path, None] = {}
    ignored = 0
    for path in (found for given in paths for found in _expanded(given)):
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
            images = [entry for entry in inside if entry.suffix.lower() in SUFFIXES]
            if not images:
                raise InputError(f"folder '{path}' holds no image ({', '.join(SUFFIXES)})")
            ignored += len(inside) - len(images)
            files.update(dict.fromkeys(images))
        else:
            files[path] = None
    return list(files), ignored


def _expanded(given: str | Path) -> list[Path]:
    """The paths that a word stands for: itself where it exists, else what fits it as a pattern."""
    text = str(given)
    if Path(given).exists():
        return [Path(given)]
    if text == "-":
        raise InputError("image '-' would be standard input, which is not read; give a file")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://?[^/]", text):
        raise InputError(f"image '{text}' is an address, and nothing is downloaded; save the file and give its name")
    if not glob.has_magic(text):
        raise InputError(f"image '{text}' does not exist")
    found = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207 (takes absolute patterns, too)
    if not found:
        raise InputError(f"no file fits the pattern '{text}'")
    return found
