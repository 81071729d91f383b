"""Place on the map: read from a GeoTIFF, written with its labels; only where rasterio is installed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ovss.errors import InputError
from ovss.files import atomic_write

__all__ = ["geography", "write_geotiff"]


def geography(path: Path) -> dict[str, Any] | None:
    """Coordinate system and transform of a GeoTIFF.

    Args:
        path: An image file.

    Returns:
        `crs` and `transform` as rasterio has them, with the raster's `height` and `width`; None for a file without
        them, or without rasterio.

    Raises:
        InputError: The file cannot be read as GeoTIFF.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ModuleNotFoundError:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # Only this driver: others follow what a file's text says to further files and addresses.
            with rasterio.open(path, driver="GTiff") as file:
                place = {"crs": file.crs, "transform": file.transform, "height": file.height, "width": file.width}
    except (RasterioError, OSError, ValueError) as error:
        raise InputError(f"the place of '{path}' on the map cannot be read: {error}") from error
    return place if place["crs"] is not None else None


def write_geotiff(path: Path, labels: np.ndarray, place: dict[str, Any]) -> None:
    """Class indices at their place on the map.

    Args:
        path: The file to write.
        labels: (H, W); of a centre crop where the protocol crops, whose place is moved accordingly.
        place: From `geography`.
    """
    from rasterio import Affine
    from rasterio.io import MemoryFile

    height, width = labels.shape
    top, left = (place["height"] - height) // 2, (place["width"] - width) // 2
    values = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype=values.dtype,
            crs=place["crs"],
            transform=place["transform"] * Affine.translation(left, top),
            compress="deflate",
        ) as raster:
            raster.write(values, 1)
        with atomic_write(path) as file:
            file.write(memory.read())
