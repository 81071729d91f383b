"""Training views: a pool of rendered scenes, random crops of them, and captions of what each crop shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import OPENAI_DATASET_MEAN as MEAN
from open_clip import OPENAI_DATASET_STD as STD
from torch import Tensor

from ovss.files import atomic_write, digest
from ovss.provenance import code_hash
from ovss.scenes import captions
from ovss.scenes.objects import THINGS, VARIANTS_OF
from ovss.scenes.scenes import CLASSES, Layout, scene
from ovss.training.recipe import ViewRecipe

_POOL_SIDE = 96
CHUNK = 256
_GENERATOR = "ovss.scenes.scenes"
"""What it reaches by import decides what a scene looks like."""


class Pool:
    """The first `size` scenes of the training split, rendered once into memory-mapped files.

    Args:
        folder: cache folder; a pool is found again by size and by the generator's source code.
        size: number of scenes.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.folder = folder / f"pool-{digest([size, _POOL_SIDE, code_hash(_GENERATOR)])[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def _chunk(self, start: int) -> Path:
        return self.folder / f"chunk-{start:07d}.npz"

    @property
    def complete(self) -> bool:
        """Whether every scene has been rendered."""
        return (self.folder / "complete").exists()

    def render(self, rank: int = 0, world: int = 1) -> None:
        """Render this process's share of the pool, one file per chunk; chunks that exist are kept."""
        for start in range(rank * CHUNK, self.size, world * CHUNK):
            path = self._chunk(start)
            if path.exists():
                continue
            drawn = [
                scene("train", i, size=(_POOL_SIDE, _POOL_SIDE)) for i in range(start, min(start + CHUNK, self.size))
            ]
            with atomic_write(path) as file:
                np.savez(
                    file,
                    images=np.stack([s.image for s in drawn]),
                    masks=np.stack([s.mask for s in drawn]),
                    colours=np.stack([_colour_row(s.layout) for s in drawn]),
                    night=np.array([s.layout.night for s in drawn]),
                )

    def finish(self) -> None:
        """Mark the pool complete; call it when every process has rendered its share."""
        with atomic_write(self.folder / "complete", "w") as file:
            file.write(f"{self.size}\n")

    def load(self) -> None:
        """Read the rendered chunks into memory."""
        self.images = np.empty((self.size, _POOL_SIDE, _POOL_SIDE, 3), np.uint8)
        self.masks = np.empty((self.size, _POOL_SIDE, _POOL_SIDE), np.uint8)
        self.colours = np.empty((self.size, len(THINGS)), np.int8)
        self.night = np.empty(self.size, bool)
        self.areas = np.empty((self.size, len(CLASSES)), np.int64)
        for start in range(0, self.size, CHUNK):
            rows = slice(start, min(start + CHUNK, self.size))
            with np.load(self._chunk(start)) as part:
                self.images[rows], self.masks[rows] = part["images"], part["masks"]
                self.colours[rows], self.night[rows] = part["colours"], part["night"]
            self.areas[rows] = _class_areas(self.masks[rows], np.ones_like(self.masks[rows], bool))
        mostly = (self.areas[:, c] > 0.25 * _POOL_SIDE**2 for c in range(len(THINGS), len(CLASSES)))
        self.by_stuff = [np.flatnonzero(scenes) for scenes in mostly if scenes.any()]


def _colour_row(layout: Layout) -> np.ndarray:
    """Per thing class the position of its colour among its variants, -1 where it is absent or has one colour only."""
    row = np.full(len(THINGS), -1, np.int8)
    for thing in layout.things:
        if thing.colour is not None:
            row[thing.label] = VARIANTS_OF[THINGS[thing.label]].index(thing.colour)
    return row


@dataclass(frozen=True)
class Batch:
    """One contrastive batch.

    Attributes:
        images: (B, 3, side, side) float32, normalised.
        captions: B strings.
        keep: (B, n) positions of the patches the model sees, or None for all.
        waiting: Number of first blocks in which CLS waits, see `ViewRecipe`.
        same: (B, B) bool, pairs off the diagonal whose images show the same, so that they are no negatives.
    """

    images: Tensor
    captions: list[str]
    keep: Tensor | None
    waiting: int
    same: Tensor


def make_batch(pool: Pool, recipe: ViewRecipe, size: int, rng: np.random.Generator, *, dropout: bool) -> Batch:
    """Crop `size` views out of the pool and describe what each shows.

    Args:
        pool: loaded pool.
        recipe: see `ViewRecipe`.
        size: number of views.
        rng: source of every choice.
        dropout: show a part of the patches only: either a random half (as in FLIP, Li et al. 2023) or one contiguous
            block, whose caption then names what lies in the block.
    """
    grid = recipe.side // recipe.patch
    if rng.random() < recipe.grouped:
        chosen = rng.choice(pool.by_stuff[int(rng.integers(len(pool.by_stuff)))], size)
    else:
        chosen = rng.integers(pool.size, size=size)
    boxes = _crop_boxes(rng, size, recipe.area)
    images, masks = _crop(pool, chosen, boxes, recipe.side)
    keep, visible = None, np.ones((size, grid, grid), bool)
    local = dropout and rng.random() < recipe.local
    if local:
        keep, visible = _local_patches(rng, masks, recipe)
    elif dropout:
        keep = np.argsort(rng.random((size, grid * grid)), 1)[:, : recipe.tokens]
    seen = np.repeat(np.repeat(visible, recipe.patch, 1), recipe.patch, 2)
    area = _class_areas(masks, seen)
    scale = recipe.side**2 / (np.abs(boxes[:, 2] * boxes[:, 3]) * _POOL_SIDE**2)
    whole = np.maximum(pool.areas[chosen] * scale[:, None], 1)
    share = area / seen.sum((1, 2))[:, None]
    things = (share[:, : len(THINGS)] >= recipe.thing_share[local]) | (
        (area[:, : len(THINGS)] >= 0.5 * whole[:, : len(THINGS)]) & (share[:, : len(THINGS)] > 0.01)
    )
    stuff = share[:, len(THINGS) :] >= recipe.stuff_share[local]
    texts, contents = [], []
    for row in range(size):
        night, colours = bool(pool.night[chosen[row]]), pool.colours[chosen[row]]
        labels = [(int(c), _colour_word(int(c), int(colours[c]))) for c in np.flatnonzero(things[row])]
        grounds = [int(c) for c in np.flatnonzero(stuff[row])]
        texts.append(captions.describe(labels, grounds, night, rng))
        contents.append((tuple(labels), tuple(grounds), night))
    same = np.array([[a == b for b in contents] for a in contents]) & ~np.eye(size, dtype=bool)
    waiting = int(rng.integers(recipe.depth // 2, recipe.depth)) if rng.random() < recipe.waiting else 0
    return Batch(images, texts, None if keep is None else torch.from_numpy(keep), waiting, torch.from_numpy(same))


def _colour_word(label: int, number: int) -> str | None:
    return VARIANTS_OF[THINGS[label]][number] if number >= 0 else None


def _crop_boxes(rng: np.random.Generator, size: int, area: tuple[float, float]) -> np.ndarray:
    """(size, 4) boxes: centre x, centre y, width (negative: mirrored), height, as fractions of the image."""
    share = rng.uniform(*area, size)
    aspect = np.exp(rng.uniform(-0.25, 0.25, size))
    width, height = np.minimum(np.sqrt(share * aspect), 1), np.minimum(np.sqrt(share / aspect), 1)
    x = width / 2 + (1 - width) * rng.random(size)
    y = height / 2 + (1 - height) * rng.random(size)
    return np.stack([x, y, np.where(rng.random(size) < 0.5, width, -width), height], 1)


def _crop(pool: Pool, chosen: np.ndarray, boxes: np.ndarray, side: int) -> tuple[Tensor, np.ndarray]:
    """Cut and resize: normalised images (B, 3, side, side), bilinear, and masks (B, side, side), nearest."""
    line = (np.arange(side) + 0.5) / side - 0.5
    x = boxes[:, 0:1] + boxes[:, 2:3] * line  # (B, side)
    y = boxes[:, 1:2] + boxes[:, 3:4] * line
    columns, rows = ((v * _POOL_SIDE).astype(int).clip(0, _POOL_SIDE - 1) for v in (x, y))
    masks = pool.masks[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    scenes = torch.from_numpy(pool.images[chosen]).permute(0, 3, 1, 2).float()
    where = np.stack(np.broadcast_arrays(2 * x[:, None, :] - 1, 2 * y[:, :, None] - 1), -1).astype(np.float32)
    cut = F.grid_sample(scenes, torch.from_numpy(where), padding_mode="border", align_corners=False)
    return normalise(cut), masks


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) values 0..255 to CLIP's mean and standard deviation."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images / 255 - mean) / std


def _local_patches(rng: np.random.Generator, masks: np.ndarray, recipe: ViewRecipe) -> tuple[np.ndarray, np.ndarray]:
    """One contiguous block of patches per view: positions (B, n) and a (B, grid, grid) bool map of them."""
    size, grid = len(masks), recipe.side // recipe.patch
    height, width = recipe.blocks[int(rng.integers(len(recipe.blocks)))]
    tries = rng.integers(recipe.side, size=(2, size, 8))
    hit = np.take_along_axis(masks.reshape(size, -1), tries[0] * recipe.side + tries[1], 1) < len(THINGS)
    first = np.where(rng.random(size) < recipe.aimed, hit.argmax(1), 0)
    centre = tries[:, np.arange(size), first] / recipe.patch
    extent = np.array([[height], [width]])
    top, left = np.clip(np.round(centre - extent / 2).astype(int), 0, grid - extent)
    rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
    positions = (rows[:, :, None] * grid + columns[:, None, :]).reshape(size, -1)
    visible = np.zeros((size, grid * grid), bool)
    np.put_along_axis(visible, positions, True, 1)
    return positions, visible.reshape(size, grid, grid)


def _class_areas(masks: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(B, 22) visible pixels of each class."""
    offset = len(CLASSES) * np.arange(len(masks))[:, None, None]
    counts = np.bincount((masks + offset)[seen], minlength=len(masks) * len(CLASSES))
    return counts.reshape(len(masks), -1)


class CaptionTokens:
    """Tokenises captions quickly and with consecutive ids, for training with a small token table.

    Args:
        tokenizer: open_clip's tokenizer of the model.
    """

    def __init__(self, tokenizer) -> None:
        self.context = int(tokenizer.context_length)
        pieces = [*sorted(captions.known_words()), ",", ".", "-"]
        self._encoded = {piece: tokenizer.encode(piece) for piece in pieces}
        self.start, self.end = int(tokenizer.sot_token_id), int(tokenizer.eot_token_id)
        self.ids: list[int] = sorted({0, self.start, self.end, *(i for e in self._encoded.values() for i in e)})
        self._compact = {full: position for position, full in enumerate(self.ids)}

    def full(self, text: str) -> list[int]:
        """Token ids of a caption in the standard vocabulary, start and end included."""
        body = [i for piece in re.findall(r"[a-z]+|[^a-z\s]", text) for i in self._encoded[piece]]
        ids = [self.start, *body, self.end]
        if len(ids) > self.context:
            raise ValueError(f"caption of {len(ids)} tokens exceeds the context of {self.context}: {text!r}")
        return ids

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Compact ids (B, longest), padded with 0, and the position (B,) of each caption's end token."""
        rows = [[self._compact[i] for i in self.full(text)] for text in texts]
        table = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for target, row in zip(table, rows, strict=True):
            target[: len(row)] = torch.tensor(row)
        return table, torch.tensor([len(row) - 1 for row in rows])
