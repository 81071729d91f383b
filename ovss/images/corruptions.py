"""Fifteen ways in which photographs go wrong, each at one severity: noise, blur, weather, cameras and files.

The kinds are those by which robustness of image models is usually measured (Hendrycks and Dietterich, ICLR 2019); the
code and the strengths are this package's own, so that numbers compare with each other and with no other table. Lengths
are shares of the shorter side, so that small and large images suffer alike.
"""

import io
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from ovss.errors import InputError, suggest

__all__ = ["CORRUPTIONS", "corrupt"]

_Pixels = Float[np.ndarray, "H W 3"]
_Kind = Callable[[_Pixels, np.random.Generator], _Pixels]


def corrupt(image: Image.Image, kind: str, seed: int = 0) -> Image.Image:
    """A corrupted image of the same size.

    Args:
        image: RGB image.
        kind: One of `CORRUPTIONS`.
        seed: Of everything that is drawn at random.

    Raises:
        InputError: Unknown kind, or a seed below 0.

    Example:
        >>> grey = Image.new("RGB", (64, 48), (128, 128, 128))
        >>> corrupt(grey, "brightness").getpixel((0, 0))
        (192, 192, 192)
    """
    if kind not in CORRUPTIONS:
        raise InputError(f"corruption '{kind}' is unknown.{suggest(kind, CORRUPTIONS)}")
    if seed < 0:
        raise InputError(f"seed must be at least 0, not {seed}")
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    found = CORRUPTIONS[kind](pixels, np.random.default_rng([seed, *kind.encode()]))
    return Image.fromarray(np.rint(np.clip(found, 0, 1) * 255).astype(np.uint8))


def _length(pixels: _Pixels, share: float) -> float:
    """A share of the shorter side in pixels."""
    return share * min(pixels.shape[:2])


def _gaussian_noise(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    return pixels + draw.normal(0, 0.12, pixels.shape)


def _shot_noise(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Few photons: brightness comes in Poisson counts of at most 25 on average."""
    return draw.poisson(np.clip(pixels, 0, 1) * 25) / 25


def _impulse_noise(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Every tenth value is lost, to black or white."""
    lost = draw.random(pixels.shape) < 0.1
    return np.where(lost, draw.integers(0, 2, pixels.shape), pixels)


def _defocus_blur(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    radius = max(1.0, _length(pixels, 0.015))
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return ndimage.convolve(pixels, (disc / disc.sum())[..., None], mode="reflect")


def _glass_blur(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Light from a pixel arrives somewhere near it, between two soft blurs."""
    reach = max(1.0, _length(pixels, 0.012))
    soft = ndimage.gaussian_filter(pixels, (reach / 3, reach / 3, 0), mode="reflect")
    moved = _displaced(soft, draw.uniform(-reach, reach, (2, *pixels.shape[:2])))
    return ndimage.gaussian_filter(moved, (reach / 3, reach / 3, 0), mode="reflect")


def _motion_blur(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """The mean along a line of random direction."""
    half, angle = max(1.0, _length(pixels, 0.03)), draw.uniform(0, np.pi)
    steps = np.linspace(-half, half, 2 * int(np.ceil(half)) + 1)
    shifted = [ndimage.shift(pixels, (s * np.sin(angle), s * np.cos(angle), 0), order=1, mode="reflect") for s in steps]
    return np.mean(shifted, axis=0)


def _zoom_blur(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """The mean over zooms from 1 to 1.15 towards the centre."""
    centre = (np.array(pixels.shape[:2]) - 1) / 2
    grid = np.indices(pixels.shape[:2]) - centre[:, None, None]
    zoomed = [_sampled(pixels, grid / zoom + centre[:, None, None]) for zoom in np.linspace(1, 1.15, 9)]
    return np.mean(zoomed, axis=0)


def _snow(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Flakes that fall slantwise, over an image that turned pale."""
    size = max(0.6, _length(pixels, 0.004))
    flakes = ndimage.gaussian_filter(draw.random(pixels.shape[:2]), size)
    flakes = (flakes > np.quantile(flakes, 0.94)).astype(float)
    half = max(1, round(_length(pixels, 0.012)))
    fallen = [ndimage.shift(flakes, (step, 0.5 * step), order=1, mode="wrap") for step in range(-half, half + 1)]
    layer = np.clip(2 * np.mean(fallen, axis=0), 0, 1)[..., None]
    pale = 0.75 * pixels + 0.25 * np.maximum(pixels, pixels.mean(-1, keepdims=True) * 0.5 + 0.5)
    return pale * (1 - layer) + layer


def _frost(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Crystals: bright ridges of noise at several scales, thicker towards the border."""
    ridges = 1 - np.abs(2 * _clouds(pixels.shape[:2], draw, 0.7) - 1)
    y, x = (np.abs(np.linspace(-1, 1, side)) for side in pixels.shape[:2])
    border = np.maximum(y[:, None], x[None])
    layer = np.clip(ridges**2 * (0.35 + 0.65 * border), 0, 1)[..., None]
    return 0.85 * pixels * (1 - layer) + layer * np.array([0.85, 0.92, 1.0])


def _fog(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    thick = 0.35 + 0.35 * _clouds(pixels.shape[:2], draw, 0.5)[..., None]
    return pixels * (1 - thick) + 0.85 * thick


def _brightness(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    return pixels + 0.25


def _contrast(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    mean = pixels.mean((0, 1))
    return mean + 0.3 * (pixels - mean)


def _elastic(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    """Smooth random displacements; small enough that the ground truth still holds to a pixel or two."""
    smooth = _length(pixels, 0.04)
    field = np.stack([ndimage.gaussian_filter(draw.uniform(-1, 1, pixels.shape[:2]), smooth) for _ in range(2)])
    return _displaced(pixels, field * _length(pixels, 0.012) / np.abs(field).max())


def _pixelate(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    width, height = (max(1, round(side * 0.3)) for side in image.size)
    coarse = image.resize((width, height), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    return np.asarray(coarse, dtype=np.float64) / 255


def _jpeg(pixels: _Pixels, draw: np.random.Generator) -> _Pixels:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(buffer, "JPEG", quality=12)
    return np.asarray(Image.open(buffer).convert("RGB"), dtype=np.float64) / 255


def _sampled(pixels: _Pixels, at: Float[np.ndarray, "2 H W"]) -> _Pixels:
    planes = [ndimage.map_coordinates(pixels[..., one], at, order=1, mode="reflect") for one in range(3)]
    return np.stack(planes, axis=-1)


def _displaced(pixels: _Pixels, field: Float[np.ndarray, "2 H W"]) -> _Pixels:
    return _sampled(pixels, np.indices(pixels.shape[:2]) + field)


def _clouds(shape: tuple[int, int], draw: np.random.Generator, rough: float) -> Float[np.ndarray, "H W"]:
    """Noise from 0 to 1 whose octaves, from a third of the image down, weigh `rough` of the one before."""
    total, weight, cells = np.zeros(shape), 1.0, 3
    while cells < min(shape):
        grid = draw.random((cells + 1, cells + 1))
        at = np.meshgrid(*(np.linspace(0, cells, side) for side in shape), indexing="ij")
        total += weight * ndimage.map_coordinates(grid, at, order=1)
        weight, cells = weight * rough, cells * 2
    return (total - total.min()) / max(float(np.ptp(total)), 1e-9)


CORRUPTIONS: dict[str, _Kind] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
"""Corruptions by name."""
