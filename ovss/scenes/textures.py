"""Ten stuff textures, drawn in unit coordinates (1 = the short side of a scene) from seeded noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ovss.scenes.seeding import generator

STUFF = ("grass", "sand", "water", "brick", "wood", "sky", "snow", "stones", "tiles", "lava")
EXTENT = 1.6
BANK = 24

_Rng = np.random.Generator


@lru_cache(maxsize=256)
def _cubic_matrix(cells: int, pixels: int) -> np.ndarray:
    """Catmull-Rom interpolation from `cells + 1` lattice points to `pixels` pixel centres, as a matrix."""
    at = (np.arange(pixels) + 0.5) / pixels * cells
    base = np.floor(at).astype(int)
    t = at - base
    weights = np.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ]
    )
    matrix = np.zeros((pixels, cells + 1), np.float32)
    for k in range(4):
        np.add.at(matrix, (np.arange(pixels), np.clip(base + k - 1, 0, cells)), weights[k])
    return matrix


def value_noise(rng: _Rng, cells: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Smooth noise of about unit variance: a normal lattice of `cells` (down, across), interpolated to pixels."""
    lattice = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    return _cubic_matrix(cells[0], height) @ lattice @ _cubic_matrix(cells[1], width).T


def hash01(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Pseudo-random numbers in [0, 1) for integer cells; integer arithmetic, so every platform agrees."""
    h = i.astype(np.int64).astype(np.uint32) * np.uint32(374761393)
    h = h + j.astype(np.int64).astype(np.uint32) * np.uint32(668265263) + np.uint32(seed % (1 << 32))
    h = (h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(3266489917)
    h = h ^ (h >> np.uint32(16))
    return h.astype(np.float32) * np.float32(2.0**-32)


def smooth(x: np.ndarray, slope: float) -> np.ndarray:
    """A step from 0 to 1 around x = 0, linear with the given slope."""
    return np.clip(0.5 + slope * x, 0, 1)


def _rgb(rng: _Rng, colour: tuple[float, float, float], jitter: float) -> np.ndarray:
    return np.asarray(colour, np.float32)[:, None, None] + jitter * rng.standard_normal((3, 1, 1), np.float32)


def _rotated(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def _cells(rng: _Rng, x: np.ndarray, y: np.ndarray, frequency: float) -> tuple[np.ndarray, np.ndarray]:
    """Worley noise: distance between the two nearest feature points, and a random number per cell."""
    gx, gy = x * np.float32(frequency), y * np.float32(frequency)
    ix, iy = np.floor(gx).astype(np.int64), np.floor(gy).astype(np.int64)
    seed = int(rng.integers(1 << 31))
    first = np.full(gx.shape, 9.0, np.float32)
    second, owner = first.copy(), np.zeros_like(first)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            a, b = ix + dx, iy + dy
            d = np.hypot(gx - a - hash01(a, b, seed), gy - b - hash01(a, b, seed + 1)).astype(np.float32)
            closer = d < first
            second = np.where(closer, first, np.minimum(second, d))
            owner = np.where(closer, hash01(a, b, seed + 2), owner)
            first = np.minimum(first, d)
    return second - first, owner


def draw_texture(name: str, rng: _Rng, pixels_per_unit: int, scale: float = 1.0) -> np.ndarray:
    """Draw one stuff texture over a square of `EXTENT` units.

    Args:
        name: one of `STUFF`.
        rng: source of every random choice.
        pixels_per_unit: resolution; the pattern itself does not depend on it.
        scale: multiplies the size of the pattern (1 in training, other values for the shifted variant).

    Returns:
        (3, S, S) float32 colours, S = round(EXTENT * pixels_per_unit), roughly in [0, 1], not clipped.
    """
    size = round(EXTENT * pixels_per_unit)
    line = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(pixels_per_unit * scale)
    x, y = np.broadcast_to(line[None, :], (size, size)), np.broadcast_to(line[:, None], (size, size))

    def noise(down: float, across: float) -> np.ndarray:
        cells = (max(1, round(down * EXTENT / scale)), max(1, round(across * EXTENT / scale)))
        return value_noise(rng, cells, size, size)

    between = rng.uniform
    if name == "grass":
        blades = 0.5 * noise(19, 48) + 0.5 * noise(6, 6)
        return _rgb(rng, (0.25, 0.55, 0.15), 0.04) * (1 + 0.32 * blades)
    if name == "sand":
        grain = 0.55 * noise(96, 96) + 0.45 * noise(10, 10)
        return _rgb(rng, (0.87, 0.75, 0.48), 0.03) * (1 + 0.10 * grain)
    if name == "water":
        _, v = _rotated(x, y, between(-0.25, 0.25))
        wave = np.sin(v * np.float32(between(34, 52)) + 1.8 * noise(5, 5) + np.float32(between(0, 6.28)))
        return _rgb(rng, (0.04, 0.30, 0.52), 0.03) * (1 + 0.28 * wave) + 0.22 * smooth(wave - 0.8, 4)
    if name == "brick":
        u, v = _rotated(x, y, between(-0.12, 0.12))
        rows = np.float32(between(7, 11))
        r = v * rows + np.float32(between(0, 1))
        c = u * rows * 0.5 + 0.5 * (np.floor(r) % 2) + np.float32(between(0, 1))
        mortar = ((r - np.floor(r) < 0.14) | (c - np.floor(c) < 0.08)).astype(np.float32)
        shade = 0.8 + 0.4 * hash01(np.floor(r), np.floor(c), int(rng.integers(1 << 31)))
        return _rgb(rng, (0.62, 0.25, 0.17), 0.03) * shade * (1 - mortar) + _rgb(rng, (0.78, 0.75, 0.70), 0.03) * mortar
    if name == "wood":
        _, v = _rotated(x, y, between(0, 3.14))
        planks = v * np.float32(between(4, 7))
        plank = np.floor(planks)
        grain = np.sin(v * 90 + 3 * noise(4, 3) + plank * np.float32(2.1))
        gap = (planks - plank < 0.07).astype(np.float32)
        shade = 0.85 + 0.3 * hash01(plank, np.zeros_like(plank), int(rng.integers(1 << 31)))
        return _rgb(rng, (0.50, 0.32, 0.15), 0.03) * shade * (1 + 0.15 * grain) * (1 - 0.6 * gap)
    if name == "sky":
        cloud = 0.65 * np.clip(0.7 * noise(3, 3) + 0.35 * noise(8, 8) - 0.5, 0, 1)
        return _rgb(rng, (0.34, 0.60, 0.96), 0.03) * (0.85 + 0.15 * y) * (1 - cloud) + 0.97 * cloud
    if name == "snow":
        _, v = _rotated(x, y, between(-0.5, 0.5))
        drift = np.sin(v * np.float32(between(16, 24)) + 2.5 * noise(4, 4))
        sparkle = smooth(noise(64, 64) - 1.6, 2)
        return _rgb(rng, (0.86, 0.87, 0.93), 0.012) + 0.045 * drift + 0.12 * sparkle
    if name == "stones":
        edge, owner = _cells(rng, x, y, between(6, 9))
        return _rgb(rng, (0.50, 0.49, 0.47), 0.025) * (0.65 + 0.7 * owner) * np.clip(edge / 0.25, 0.25, 1)
    if name == "tiles":
        u, v = _rotated(x, y, between(-0.5, 0.5))
        rows = np.float32(between(6, 8.5))
        a, b = u * rows - np.floor(u * rows) - 0.5, v * rows - np.floor(v * rows) - 0.5
        shade = 0.92 + 0.16 * hash01(np.floor(u * rows), np.floor(v * rows), int(rng.integers(1 << 31)))
        grout = smooth(np.maximum(abs(a), abs(b)) - 0.44, 14)
        inset = smooth(0.24 - (abs(a) + abs(b)), 12)
        body = _rgb(rng, (0.60, 0.86, 0.76), 0.03) * shade
        return (body * (1 - inset) + _rgb(rng, (0.08, 0.40, 0.38), 0.02) * inset) * (1 - grout) + 0.97 * grout
    if name == "lava":
        edge, owner = _cells(rng, x, y, between(6, 9))
        glow = np.clip(1 - edge / 0.35, 0, 1)
        return _rgb(rng, (0.15, 0.06, 0.06), 0.02) * (0.8 + 0.4 * owner) * (1 - glow) + glow * _rgb(
            rng, (1, 0.42, 0.05), 0.03
        )
    raise ValueError(f"texture '{name}' is none of: {', '.join(STUFF)}")


@lru_cache(maxsize=len(STUFF) * BANK)
def bank_texture(bank: str, name: str, index: int, pixels_per_unit: int, scale: float = 1.0) -> np.ndarray:
    """Texture number `index` of a bank, (3, S, S) uint8, drawn once and kept; callers must not write into it."""
    rng = generator("texture", bank, name, index)
    drawn = draw_texture(name, rng, pixels_per_unit, scale)
    texture = np.round(np.clip(drawn, 0, 1) * 255).astype(np.uint8)
    texture.setflags(write=False)
    return texture
