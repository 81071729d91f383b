"""Twelve things, each with its own silhouette and inner pattern, as signed distances in object coordinates.

An object lives in u, v in about [-1, 1] (v points down). It is a list of parts painted in order: a signed distance
(negative inside) and a colour, either one RGB triple or an array (3, h, w) that varies over the object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ovss.scenes.textures import hash01, smooth, value_noise

__all__ = ["COLOURS", "HELD_OUT_COLOURS", "HELD_OUT_NIGHT", "THINGS", "VARIANTS_OF"]

THINGS = (
    "ladybird", "watermelon", "heart", "moon", "house", "tree",
    "star", "lifebuoy", "mushroom", "fish", "flower", "flag",
)  # fmt: skip

UPRIGHT = frozenset({"house", "tree", "mushroom", "fish", "flag"})
"""Things that are only slightly tilted; all others appear at any angle."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.10, 0.08),
    "yellow": (0.97, 0.80, 0.08),
    "blue": (0.10, 0.28, 0.85),
    "purple": (0.50, 0.14, 0.70),
    "orange": (0.97, 0.50, 0.06),
}

VARIANTS_OF: dict[str, tuple[str, ...]] = {
    "ladybird": ("red", "yellow", "purple", "blue"),
    "star": ("yellow", "red", "blue", "purple"),
    "lifebuoy": ("red", "blue", "purple", "yellow"),
    "mushroom": ("red", "purple", "yellow", "blue"),
    "fish": ("orange", "blue", "red", "purple"),
    "flower": ("purple", "yellow", "red", "blue"),
}
"""Things that come in several colours; the first is the usual one."""

HELD_OUT_COLOURS = frozenset(
    {
        ("ladybird", "blue"),
        ("lifebuoy", "yellow"),
        ("mushroom", "blue"),
        ("fish", "purple"),
        ("flower", "red"),
    }
)
HELD_OUT_NIGHT = frozenset({"house", "flag", "watermelon"})
"""Combinations (thing, colour) and (thing at night) that no split contains, kept for the compositional test."""

_Array = np.ndarray
_Rng = np.random.Generator
_Part = tuple[_Array, Sequence[float] | _Array]

BLACK, WHITE = (0.06, 0.06, 0.07), (0.96, 0.96, 0.95)


def _box(u: _Array, v: _Array, cx: float, cy: float, a: float, b: float) -> _Array:
    return np.maximum(abs(u - cx) - a, abs(v - cy) - b)


def _circle(u: _Array, v: _Array, cx: float, cy: float, r: float) -> _Array:
    return np.hypot(u - cx, v - cy) - r


def _polygon(u: _Array, v: _Array, points: Sequence[tuple[float, float]]) -> _Array:
    """Distance to a convex polygon, exact inside and along its edges."""
    mx, my = (sum(c) / len(points) for c in zip(*points, strict=True))
    far = np.full(u.shape, -np.inf, np.float32)
    for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        nx, ny = (y1 - y0) / length, (x0 - x1) / length
        if (mx - x0) * nx + (my - y0) * ny > 0:
            nx, ny = -nx, -ny
        far = np.maximum(far, (u - x0) * nx + (v - y0) * ny)
    return far


def _mix(a: Sequence[float], b: Sequence[float], t: _Array) -> _Array:
    a_, b_ = (np.asarray(c, np.float32)[:, None, None] for c in (a, b))
    return a_ + (b_ - a_) * t


def _shade(colour: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(min(1.0, c * factor) for c in colour)


def _ladybird(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    dot = 0.17 * rng.uniform(0.85, 1.2)
    spots = ((-0.38, -0.3), (0.38, -0.3), (-0.5, 0.15), (0.5, 0.15), (-0.3, 0.52), (0.3, 0.52))
    parts: list[_Part] = [
        (_circle(u, v, 0, -0.72, 0.34), BLACK),
        (_circle(u, v, 0, 0.05, 0.84), colour),
        (_box(u, v, 0, 0.05, 0.05, 0.84), BLACK),
    ]
    return parts + [(_circle(u, v, a, b, dot), BLACK) for a, b in spots]


def _watermelon(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    def half(r: float) -> _Array:
        return np.maximum(_circle(u, v, 0, -0.42, r), -v - 0.42)

    seed = 0.085 * rng.uniform(0.85, 1.2)
    seeds = ((-0.42, -0.2), (0, -0.18), (0.42, -0.2), (-0.2, 0.05), (0.22, 0.05))
    rinds: list[_Part] = [
        (half(0.98), (0.10, 0.45, 0.14)),
        (half(0.80), (0.85, 0.92, 0.70)),
        (half(0.70), (0.95, 0.28, 0.36)),
    ]
    return rinds + [(_circle(u, v, a, b, seed), BLACK) for a, b in seeds]


def _heart(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    c, z = math.sqrt(0.5), 0.5
    p, q = (u + v - 0.02) * c, (u - v + 0.02) * c
    shape = np.minimum(_box(p, q, 0, 0, z, z), np.minimum(_circle(p, q, -z, 0, z), _circle(p, q, 0, z, z)))
    angle, phase, bend = rng.uniform(-0.5, 0.5), rng.uniform(0, 6.28), rng.uniform(0, 6.28)
    w = u * math.cos(angle) + v * math.sin(angle) + 0.12 * np.sin(3 * v + bend)
    stripes = smooth(np.sin(w * 11 * rng.uniform(0.85, 1.2) + phase), 1.5)
    return [(shape, _mix(WHITE, BLACK, stripes))]


def _moon(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    k = 2.6 * rng.uniform(0.85, 1.2)
    gx, gy = u * k + rng.uniform(0, 9), v * k + rng.uniform(0, 9)
    ix, iy, seed = np.floor(gx), np.floor(gy), int(rng.integers(1 << 31))
    d = np.hypot(gx - ix - 0.3 - 0.4 * hash01(ix, iy, seed), gy - iy - 0.3 - 0.4 * hash01(ix, iy, seed + 1))
    spots = _mix((0.90, 0.68, 0.34), (0.26, 0.15, 0.07), smooth(0.30 - d, 5))
    return [(np.maximum(_circle(u, v, 0, 0, 0.88), -_circle(u, v, 0.42, 0, 0.62)), spots)]


def _house(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    f = 2.42 * rng.uniform(0.9, 1.15)
    gx, gy = u * f + rng.uniform(0, 1), (v - 0.35) * f + rng.uniform(0, 1)
    window = smooth(0.24 - abs(gx - np.floor(gx) - 0.5), 8) * smooth(0.28 - abs(gy - np.floor(gy) - 0.5), 8)
    ridge = smooth(np.sin(v * 20 + rng.uniform(0, 6.28)), 1)
    return [
        (_box(u, v, 0, 0.35, 0.68, 0.55), _mix((0.97, 0.92, 0.66), (0.18, 0.24, 0.50), window)),
        (
            _polygon(u, v, [(0, -0.95), (0.92, -0.12), (-0.92, -0.12)]),
            _mix((0.34, 0.30, 0.40), (0.17, 0.14, 0.22), ridge),
        ),
    ]


def _tree(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    crown = np.minimum(_circle(u, v, -0.40, 0.05, 0.44), _circle(u, v, 0.40, 0.05, 0.44))
    crown = np.minimum(_circle(u, v, 0, -0.38, 0.54), crown)
    leaves = _mix((0.04, 0.26, 0.10), (0.20, 0.56, 0.18), smooth(value_noise(rng, (9, 9), *u.shape), 0.6))
    return [(_box(u, v, 0, 0.62, 0.15, 0.36), (0.42, 0.26, 0.12)), (crown, leaves)]


def _star(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    sector = 2 * math.pi / 5
    radius = np.hypot(u, v)
    angle = abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    x1, y1 = 0.50 * math.cos(sector / 2), 0.50 * math.sin(sector / 2)
    length = math.hypot(y1, 1 - x1)
    glow = np.clip(radius * 1.5 * rng.uniform(0.9, 1.15) - 0.1, 0, 1)
    return [(((px - 1) * y1 + py * (1 - x1)) / length, _mix((1.0, 1.0, 0.88), colour, glow))]


def _lifebuoy(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    bands = smooth(np.sin(4 * np.arctan2(v, u) + rng.uniform(0, 6.28)), 2)
    return [(abs(np.hypot(u, v) - 0.62) - 0.28, _mix(WHITE, colour, bands))]


def _mushroom(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    cap = np.maximum((np.hypot(u / 0.92, (v - 0.15) / 0.97) - 1) * 0.9, v - 0.15)
    dot = 0.14 * rng.uniform(0.85, 1.2)
    dots = ((-0.5, -0.1), (-0.2, -0.45), (0.05, -0.1), (0.32, -0.5), (0.58, -0.12))
    parts: list[_Part] = [(_box(u, v, 0, 0.42, 0.26, 0.48), (0.93, 0.86, 0.72)), (cap, _shade(colour, 0.9))]
    return parts + [(_circle(u, v, a, b, dot), WHITE) for a, b in dots]


def _fish(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    k = 4.2 * rng.uniform(0.85, 1.2)
    row = np.floor(u * k)
    gy = v * k + 0.5 * (row % 2)
    d = np.hypot(u * k - row, gy - np.floor(gy) - 0.5)
    scales = _mix(colour, _shade(colour, 0.35), smooth(d - 0.62, 4))
    return [
        (_polygon(u, v, [(0.35, 0), (0.98, -0.55), (0.98, 0.55)]), _shade(colour, 0.7)),
        ((np.hypot((u + 0.2) / 0.68, v / 0.50) - 1) * 0.5, scales),
        (_circle(u, v, -0.56, -0.1, 0.13), WHITE),
        (_circle(u, v, -0.58, -0.1, 0.07), BLACK),
    ]


def _flower(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    radius = np.hypot(u, v)
    pale = tuple(0.35 * c + 0.65 for c in colour)
    fade = np.clip((radius - 0.3) * 1.6 * rng.uniform(0.85, 1.2), 0, 1)
    petals = (radius - (0.70 + 0.26 * np.cos(6 * np.arctan2(v, u)))) * 0.6
    return [(petals, _mix(colour, pale, fade)), (radius - 0.28, (0.98, 0.82, 0.1))]


def _flag(u: _Array, v: _Array, colour: Sequence[float], rng: _Rng) -> list[_Part]:
    k = 2.6 * rng.uniform(0.85, 1.2)
    checks = (np.floor(u * k + rng.uniform(0, 2)) + np.floor(v * k + rng.uniform(0, 2))) % 2
    wave = 0.06 * np.sin(4 * u + rng.uniform(0, 6.28))
    cloth = _mix((0.10, 0.22, 0.80), (0.98, 0.88, 0.15), checks)
    return [
        (_box(u, v, -0.82, 0.05, 0.08, 0.93), (0.55, 0.55, 0.58)),
        (_box(u, v + wave, 0.08, -0.3, 0.86, 0.56), cloth),
    ]


DRAW: dict[str, Callable[[_Array, _Array, Sequence[float], _Rng], list[_Part]]] = {
    "ladybird": _ladybird, "watermelon": _watermelon, "heart": _heart, "moon": _moon, "house": _house,
    "tree": _tree, "star": _star, "lifebuoy": _lifebuoy, "mushroom": _mushroom, "fish": _fish,
    "flower": _flower, "flag": _flag,
}  # fmt: skip
