"""`scenes`: images with exact masks, objects, attributes and captions; image i of split s is the same everywhere."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from ovss.errors import InputError, suggest
from ovss.scenes.captions import describe
from ovss.scenes.objects import COLOURS, DRAW, HELD_OUT_COLOURS, HELD_OUT_NIGHT, THINGS, UPRIGHT, VARIANTS_OF
from ovss.scenes.seeding import generator
from ovss.scenes.textures import BANK, EXTENT, STUFF, bank_texture, value_noise

__all__ = ["CLASSES", "VARIANTS", "Layout", "Scene", "Style", "Thing", "scene", "single"]

CLASSES = THINGS + STUFF
"""The 22 class names, things first; their position is the class id of a mask."""

_NIGHT = (0.42, 0.47, 0.72)
"""How much of the red, green and blue light is left at night."""


@dataclass(frozen=True)
class Style:
    """What distinguishes a variant of the generator: image size (width, height), statistics, texture bank."""

    size: tuple[int, int] = (192, 192)
    bank: str = "scenes"
    counts: tuple[float, ...] = (0.05, 0.40, 0.32, 0.17, 0.06)
    radius: tuple[float, float] = (0.18, 0.36)
    texture_scale: float = 1.0
    light: float = 0.13
    night: float = 0.12
    two_stuff: float = 0.55
    things_only: bool = False


VARIANTS: dict[str, Style] = {
    "scenes": Style(),
    "scenes-objects": Style(things_only=True),
    "scenes-large": Style(size=(256, 192), counts=(0.02, 0.10, 0.26, 0.34, 0.28), radius=(0.13, 0.27)),
    "scenes-shifted": Style(bank="shifted", radius=(0.14, 0.28), texture_scale=1.25, light=0.25, night=0.25),
}
SIZES: dict[str, tuple[int, int]] = {name: style.size for name, style in VARIANTS.items()}


@dataclass(frozen=True)
class Thing:
    """One object: class id, colour word (None where the class has one colour only), place and pose in units."""

    label: int
    colour: str | None
    radius: float
    x: float
    y: float
    angle: float
    aspect: float
    flip: float


@dataclass(frozen=True)
class Layout:
    """Everything that is decided before drawing: objects in painting order, stuff class ids, lighting."""

    things: tuple[Thing, ...]
    stuff: tuple[int, ...]
    textures: tuple[int, ...]
    night: bool


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 class ids, exact; for `scenes-objects` 0 is background and things are 1..12.
        layout: the objects with their attributes, the stuff and the lighting.
        caption: a sentence that names only what is there.
    """

    image: np.ndarray
    mask: np.ndarray
    layout: Layout
    caption: str


def _style_of(variant: str) -> Style:
    """The style of a variant; InputError with a suggestion if there is none of that name."""
    if variant not in VARIANTS:
        raise InputError(f"scenes variant '{variant}' is none of: {', '.join(VARIANTS)}.{suggest(variant, VARIANTS)}")
    return VARIANTS[variant]


def _check_split(split: str) -> None:
    if not re.fullmatch(r"(train|val|test)(-\d+)?", split):
        raise InputError(f"scenes split '{split}' must be train, val or test, with a seed if wished: 'test-7'")


def _colour(label: int, rng: np.random.Generator) -> str | None:
    """The usual colour in 55 % of the cases, else one of the others that is not held out."""
    name = THINGS[label]
    if name not in VARIANTS_OF:
        return None
    usual, *others = VARIANTS_OF[name]
    allowed = [c for c in others if (name, c) not in HELD_OUT_COLOURS]
    return usual if rng.random() < 0.55 else allowed[int(rng.integers(len(allowed)))]


def _pose(label: int, colour: str | None, radius: float, x: float, y: float, rng: np.random.Generator) -> Thing:
    spread = 0.3 if THINGS[label] in UPRIGHT else math.pi
    angle, aspect = rng.uniform(-spread, spread), 1 + rng.uniform(-0.12, 0.12)
    return Thing(label, colour, radius, x, y, angle, aspect, 1.0 if rng.random() < 0.5 else -1.0)


def plan(style: Style, rng: np.random.Generator) -> Layout:
    """Draw a layout: distinct things that hardly overlap, on one or two kinds of stuff, none of it held out."""
    width, height = style.size[0] / min(style.size), style.size[1] / min(style.size)
    night = bool(rng.random() < style.night)
    order = [int(c) for c in rng.permutation(len(THINGS)) if not (night and THINGS[c] in HELD_OUT_NIGHT)]
    count = int(np.searchsorted(np.cumsum(style.counts), rng.random() * sum(style.counts)))
    shrink = (1.0, 1.15, 1.0, 0.85, 0.75)[min(count, 4)] if style.size[0] == style.size[1] else 1.0
    things: list[Thing] = []
    for label in order[:count]:
        colour, best = _colour(label, rng), (math.inf, 0.0, 0.0, 0.0)
        for _ in range(6):
            radius = rng.uniform(*style.radius) * shrink
            x = 0.6 * radius + (width - 1.2 * radius) * rng.random()
            y = 0.6 * radius + (height - 1.2 * radius) * rng.random()
            overlap = max((radius + o.radius - math.hypot(x - o.x, y - o.y) for o in things), default=-1.0)
            best = min(best, (overlap, radius, x, y))
            if overlap < 0.06:
                break
        if best[0] <= 0.12:
            things.append(_pose(label, colour, *best[1:], rng))
    kinds = 2 if rng.random() < style.two_stuff else 1
    stuff = tuple(len(THINGS) + int(c) for c in rng.permutation(len(STUFF))[:kinds])
    return Layout(tuple(things), stuff, tuple(int(rng.integers(BANK)) for _ in stuff), night)


def _portrait(thing: str, colour: str | None, night: bool, stuff: str, rng: np.random.Generator) -> Layout:
    """A layout with one large thing on one kind of stuff, of any combination, held out or not."""
    radius = rng.uniform(0.30, 0.42)
    x, y = rng.uniform(0.42, 0.58, 2)
    pose = _pose(THINGS.index(thing), colour, radius, float(x), float(y), rng)
    return Layout((pose,), (CLASSES.index(stuff),), (int(rng.integers(BANK)),), night)


def _paste_texture(
    style: Style, label: int, index: int, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """A random crop of a bank texture as (3, H, W) in [0, 1], mirrored or not, with its own brightness."""
    unit = min(height, width)
    texture = bank_texture(style.bank, CLASSES[label], index, unit, style.texture_scale)
    room = EXTENT - np.array([height, width]) / unit
    top, left = (int(v * unit) for v in rng.random(2) * room)
    crop = texture[:, top : top + height, left : left + width].astype(np.float32) / 255
    return (crop[:, :, ::-1] if rng.random() < 0.5 else crop) * np.float32(1 + 0.08 * rng.standard_normal())


def _colour_jitter(rng: np.random.Generator) -> np.ndarray:
    """A 3 x 3 colour matrix: a small rotation of the hue, less saturation, other brightness."""
    angle = float(np.clip(0.16 * rng.standard_normal(), -0.35, 0.35))
    grey, identity = np.full((3, 3), 1 / 3), np.eye(3)
    turn = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = grey + rng.uniform(0.78, 1) * (math.cos(angle) * (identity - grey) + math.sin(angle) * turn)
    return (matrix * np.clip(1 + 0.13 * rng.standard_normal(), 0.7, 1.3)).astype(np.float32)


def paint_thing(image: np.ndarray, mask: np.ndarray, thing: Thing, rng: np.random.Generator) -> None:
    """Paint one thing into image (3, H, W) and mask (H, W), working only on its bounding box."""
    height, width = mask.shape
    unit, reach = min(height, width), 1.25 * thing.radius
    top, bottom = max(0, int((thing.y - reach) * unit)), min(height, math.ceil((thing.y + reach) * unit))
    left, right = max(0, int((thing.x - reach) * unit)), min(width, math.ceil((thing.x + reach) * unit))
    dy = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / unit - thing.y)[:, None]
    dx = ((np.arange(left, right, dtype=np.float32) + 0.5) / unit - thing.x)[None, :]
    c, s = math.cos(thing.angle), math.sin(thing.angle)
    u = (dx * c + dy * s) * np.float32(thing.flip / thing.radius / thing.aspect)
    v = (dy * c - dx * s) * np.float32(thing.aspect / thing.radius)
    name = THINGS[thing.label]
    colour = COLOURS.get(thing.colour or "", (0.0, 0.0, 0.0))
    matrix, slope_u, slope_v = _colour_jitter(rng), 0.16 * rng.standard_normal(), 0.16 * rng.standard_normal()
    alpha = np.zeros(u.shape, np.float32)
    rgb = np.zeros((3, *u.shape), np.float32)
    for distance, part in DRAW[name](u, v, colour, rng):
        cover = np.clip(0.5 - distance * (thing.radius * unit), 0, 1)
        ink = part if isinstance(part, np.ndarray) else np.asarray(part, np.float32)[:, None, None]
        rgb += cover * (ink - rgb)
        alpha += cover - alpha * cover
    rgb = np.tensordot(matrix, rgb, 1) * (1 + np.clip(u * slope_u + v * slope_v, -0.25, 0.25)).astype(np.float32)
    image[:, top:bottom, left:right] *= 1 - alpha
    image[:, top:bottom, left:right] += rgb
    mask[top:bottom, left:right][alpha > 0.5] = thing.label


def draw(layout: Layout, style: Style, rng: np.random.Generator, size: tuple[int, int] | None = None):
    """Draw a layout at any size of the style's aspect ratio.

    Args:
        layout: what to draw.
        style: texture bank and lighting statistics.
        rng: source of poses' details, noise and light.
        size: (width, height) in pixels; None takes the style's.

    Returns:
        Image (H, W, 3) uint8 and mask (H, W) uint8 of class ids 0..21.
    """
    width, height = size or style.size
    layers = [
        _paste_texture(style, c, t, height, width, rng) for c, t in zip(layout.stuff, layout.textures, strict=True)
    ]
    image, mask = layers[0], np.full((height, width), layout.stuff[0], np.uint8)
    unit = min(height, width)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) / unit for n in (height, width))
    if len(layers) == 2:
        if rng.random() < 0.6:
            tilt, offset = 0.35 * rng.standard_normal(), rng.uniform(-0.2, 0.2)
            field = (y[:, None] - 0.5) * math.cos(tilt) + (x[None, :] - 0.5) * math.sin(tilt) - offset
            field = field + 0.02 * value_noise(rng, (8, 8), height, width)
        else:
            field = value_noise(rng, (2, 2), height, width)
            field = field - np.median(field)
        image, mask = (
            np.where(field > 0, layers[1], image),
            np.where(field > 0, np.uint8(layout.stuff[1]), mask),
        )
    for thing in layout.things:
        paint_thing(image, mask, thing, rng)
    bends = 0.22 * np.clip(rng.standard_normal(2), -1.5, 1.5)
    light = np.clip(0.97 + style.light * rng.standard_normal(), 0.6, 1.25)
    light = (light + bends[0] * (x[None, :] - 0.5) + bends[1] * (y[:, None] - 0.5)).astype(np.float32)
    tint = (1 + 0.03 * rng.standard_normal((3, 1, 1))).astype(np.float32)
    if layout.night:
        tint = tint * np.asarray(_NIGHT, np.float32)[:, None, None]
    grain = np.float32(0.05 * rng.random())
    image = image * light * tint + grain * rng.standard_normal(image.shape, dtype=np.float32)
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)), mask


def scene(split: str, index: int, variant: str = "scenes", size: tuple[int, int] | None = None) -> Scene:
    """Image `index` of a split.

    Args:
        split: "train", "val" or "test", or one of these with a seed, as in "test-7": other images, same statistics.
        index: any number from 0.
        variant: one of `VARIANTS`; `scenes-objects` shows the images of `scenes` with other labels.
        size: (width, height) in pixels instead of the variant's own, of the same aspect ratio.

    Raises:
        InputError: unknown variant or split, negative index.
    """
    style = _style_of(variant)
    _check_split(split)
    if index < 0:
        raise InputError(f"scenes index {index} must be 0 or more")
    stream = "scenes" if variant == "scenes-objects" else variant
    rng = generator("scene", stream, split, index)
    layout = plan(style, rng)
    words = generator("caption", stream, split, index)
    image, mask = draw(layout, style, rng, size)
    caption = describe(
        [(t.label, t.colour) for t in layout.things],
        [c - len(THINGS) for c in layout.stuff],
        layout.night,
        words,
    )
    if style.things_only:
        mask = np.where(mask < len(THINGS), mask + 1, 0).astype(np.uint8)
    return Scene(image, mask, layout, caption)


def single(
    thing: str,
    index: int,
    *,
    colour: str | None = None,
    night: bool = False,
    split: str = "test",
    size: int = 64,
) -> Scene:
    """One large thing on one kind of stuff: for naming, and for combinations that were held out of training.

    Args:
        thing: one of `THINGS`.
        index: number of the image.
        colour: a colour the thing comes in (`VARIANTS_OF`); None takes the usual one.
        night: lighting.
        split: as in `scene`.
        size: side in pixels.
    """
    if thing not in THINGS:
        raise InputError(f"thing '{thing}' is none of: {', '.join(THINGS)}.{suggest(thing, THINGS)}")
    colours = VARIANTS_OF.get(thing, ())
    if colour is not None and colour not in colours:
        raise InputError(
            f"colour '{colour}' of {thing} must be one of: {', '.join(colours) or 'none, it has one only'}"
        )
    _check_split(split)
    colour = colour or (colours[0] if colours else None)
    rng = generator("single", thing, colour, night, split, index)
    style = replace(VARIANTS["scenes"], size=(size, size))
    layout = _portrait(thing, colour, night, STUFF[int(rng.integers(len(STUFF)))], rng)
    image, mask = draw(layout, style, rng)
    words = generator("caption", thing, colour, night, split, index)
    return Scene(
        image,
        mask,
        layout,
        describe([(layout.things[0].label, colour)], [layout.stuff[0] - len(THINGS)], night, words),
    )
