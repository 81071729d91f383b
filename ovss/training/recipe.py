"""What decides the result of a training run, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ovss.errors import InputError

__all__ = ["QUICK", "SECOND", "Recipe"]

SHARDS = 2
"""Each step averages the gradients of this many independent contrastive batches, on as many processes or fewer."""


@dataclass(frozen=True)
class ViewRecipe:
    """How a view is cut out of a scene and what its caption may name.

    Attributes:
        side: View side in pixels.
        patch: Patch side in pixels.
        area: Range of the crop's share of the image.
        local: Share of the batches, while patches are dropped, whose views show one contiguous block of patches.
        blocks: Rows and columns of such a block; one of them per batch.
        aimed: Share of the blocks that are placed around a pixel of a thing, where the view has one.
        tokens: Patches kept at random in the other batches.
        thing_share: A thing is named from this share of the view on (or when half of it is visible), and from the
            second value on in a block.
        stuff_share: Stuff is named from this share of the view on, and from the second value on in a block.
        waiting: Share of the batches in which CLS waits: it keeps its first state in the first half of the blocks or
            more, the number is random, so that patches themselves must carry what the image shows.
        depth: Blocks of the vision tower.
        grouped: Share of the batches whose scenes have one kind of stuff in common, as hard negatives.
    """

    side: int = 64
    patch: int = 8
    area: tuple[float, float] = (0.2, 1.0)
    local: float = 0.6
    blocks: tuple[tuple[int, int], ...] = ((2, 2), (3, 3), (4, 4), (3, 5), (5, 3), (5, 5))
    aimed: float = 0.6
    tokens: int = 30
    thing_share: tuple[float, float] = (0.03, 0.12)
    stuff_share: tuple[float, float] = (0.08, 0.2)
    waiting: float = 0.6
    depth: int = 8
    grouped: float = 0.5


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training run; the number of processes does not.

    Attributes:
        seed: Initial weights and views.
        views: Length of the run in views.
        pool: Number of rendered scenes that views are cut from.
        batch: Views per contrastive batch.
        muon_lr: Step size of the block matrices.
        adam_lr: Step size of everything else.
        warmup: Share of the run over which the step size rises.
        decay: Share of the run, at its end, over which it falls to zero.
        full: Share of the run, at its end, in which all patches are shown.
        weight_decay: Decoupled weight decay of matrices.
        spread: Weight of a second loss: the mean cosine between patches of a view, in the third block to the last but
            one. It takes away what all patches have in common, so that cosines tell them apart.
        quiet: Weight of a third loss: 1 minus the mean cosine between the CLS tokens of a batch, in the same blocks. It
            leaves the reading of the image to the last block, so that CLS carries little before.
        start: SHA-256 of the weights that the run starts from; None: random ones.
        kept: Blocks of the vision tower, from the first on, that begin with the weights of the start; those after
            them begin at random.
        evaluate_every: Views between two evaluations (and checkpoints).
        evaluate_scenes: Scenes of the validation split per evaluation.
        examine_scenes: Scenes of the fresh split for the final record.
        view: How views are made.
    """

    seed: int = 0
    views: int = 240_000
    pool: int = 40_000
    batch: int = 64
    muon_lr: float = 3e-3
    adam_lr: float = 2e-3
    warmup: float = 0.02
    decay: float = 0.4
    full: float = 0.12
    weight_decay: float = 0.05
    spread: float = 0.0
    quiet: float = 0.0
    start: str | None = None
    kept: int = 8
    evaluate_every: int = 32_000
    evaluate_scenes: int = 40
    examine_scenes: int = 500
    view: ViewRecipe = field(default_factory=ViewRecipe)

    def __post_init__(self) -> None:
        for name in ("views", "pool", "batch", "evaluate_every", "evaluate_scenes", "examine_scenes"):
            if getattr(self, name) < 1:
                raise InputError(f"training {name} {getattr(self, name)} must be at least 1")
        if self.seed < 0:
            raise InputError(f"training seed {self.seed} must be 0 or more")

    @property
    def step_views(self) -> int:
        """Views per optimiser step."""
        return SHARDS * self.batch

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return max(1, self.views // self.step_views)

    def rate(self, step: int) -> float:
        """Factor of the step sizes at a step: linear warm-up, constant, linear decay to zero."""
        done = step / self.steps
        return min(1.0, (done + 1 / self.steps) / max(self.warmup, 1e-9), (1 - done) / max(self.decay, 1e-9))

    def dropout(self, step: int) -> bool:
        """Whether views of this step show a part of their patches only."""
        return step < (1 - self.full) * self.steps

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The recipe that `as_dict` described."""
        view = dict(values["view"])
        for name in ("area", "thing_share", "stuff_share"):
            view[name] = tuple(view[name])
        view["blocks"] = tuple(tuple(block) for block in view["blocks"])
        return cls(**{**values, "view": ViewRecipe(**view)})


SECOND = Recipe(
    views=64_000,
    pool=16_384,
    full=0.15,
    spread=0.8,
    quiet=3.0,
    kept=3,
    evaluate_every=16_000,
    view=ViewRecipe(local=0.0, waiting=0.8),
)
"""A second run, on the weights of the first: whole views, blocks 4 to 8 anew, patches that differ, a quiet CLS. What it
does to the order of the methods stands in docs/tiny-search.md; the shipped weights are those of the first run."""

QUICK = Recipe(views=40_000, pool=6_000, evaluate_every=12_800, examine_scenes=60)
"""The whole loop within five minutes on two free cores."""
