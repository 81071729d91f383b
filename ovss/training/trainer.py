"""One process of a training run: steps, gradients averaged over processes, state for checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ovss.files import atomic_write
from ovss.scenes.seeding import generator
from ovss.training.data import Pool, make_batch
from ovss.training.optim import Muon
from ovss.training.recipe import SHARDS, Recipe
from ovss.training.towers import Trainee

CHECKPOINT = "checkpoint.pt"


class StepResult(NamedTuple):
    """Loss and accuracy of a step, averaged over its shards, and whether a process was asked to stop."""

    loss: float
    accuracy: float
    stop: bool


class Trainer:
    """Model, optimisers and step counter; with a world of one it does the work of all shards.

    Every random choice follows from the recipe's seed, the step and the shard, so a run that stopped resumes exactly
    where it was, and one process or two give the same weights.

    Args:
        recipe: What to do.
        pool: Loaded pool of scenes.
        rank: Number of this process.
        world: Number of processes, at most the number of shards.
        start: Weights that the run starts from, the file that the recipe names by its hash; None: random ones.
    """

    def __init__(self, recipe: Recipe, pool: Pool, rank: int = 0, world: int = 1, start: Path | None = None) -> None:
        self.recipe, self.pool, self.rank, self.world = recipe, pool, rank, world
        self.trainee = Trainee(recipe.seed)
        if start is not None:
            self.trainee.take(start, recipe.kept)
        self.step = 0
        self.seconds = 0.0
        named = dict(self.trainee.clip.named_parameters())
        matrices = {name: p for name, p in named.items() if "resblocks" in name and p.ndim == 2}
        rest = [p for name, p in named.items() if name not in matrices]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
            {"params": [p for p in rest if p.ndim == 0], "weight_decay": 0.0, "lr": 4 * recipe.adam_lr},
        ]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices.items(), lr=recipe.muon_lr, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(groups, lr=recipe.adam_lr, betas=(0.9, 0.98)),
        ]
        self._base = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self._parameters = list(named.values())

    @property
    def finished(self) -> bool:
        """Whether the recipe's last step has been taken."""
        return self.step >= self.recipe.steps

    @property
    def views(self) -> int:
        """Views seen so far, over all processes."""
        return self.step * self.recipe.step_views

    def train_step(self, stop: bool = False) -> StepResult:
        """Take one step.

        Args:
            stop: Ask all processes to stop after this step.
        """
        recipe = self.recipe
        factor, dropout = recipe.rate(self.step), recipe.dropout(self.step)
        for optimizer, base in zip(self.optimizers, self._base, strict=True):
            optimizer.zero_grad()
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor
        totals = torch.tensor([0.0, 0.0, float(stop)])
        for shard in range(self.rank, SHARDS, self.world):
            rng = generator("views", recipe.seed, self.step, shard)
            batch = make_batch(self.pool, recipe.view, recipe.batch, rng, dropout=dropout)
            loss, accuracy = self.trainee.loss(batch, recipe.spread, recipe.quiet)
            loss.backward()
            totals += torch.tensor([loss.item(), accuracy, 0.0])
        loss, accuracy, stops = self._average_gradients(totals).tolist()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.trainee.clip.logit_scale.clamp_(0, math.log(100))
        self.step += 1
        return StepResult(loss / SHARDS, accuracy / SHARDS, stops > 0)

    def _average_gradients(self, totals: Tensor) -> Tensor:
        """Mean of the shards' gradients, in place; returns `totals` summed over the processes."""
        grads = [p.grad for p in self._parameters if p.grad is not None]
        flat = torch.cat([*(grad.flatten() for grad in grads), totals])
        if self.world > 1:
            dist.all_reduce(flat)
        offset = 0
        for grad in grads:
            grad.copy_(flat[offset : offset + grad.numel()].view_as(grad) / SHARDS)
            offset += grad.numel()
        return flat[offset:]

    def save(self, path: Path, rows: list[dict[str, float]]) -> None:
        """Write weights, optimiser state, step and the curve so far, atomically."""
        state = {
            "model": self.trainee.clip.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "recipe": self.recipe.as_dict(),
            "curve": rows,
        }
        with atomic_write(path) as file:
            torch.save(state, file)

    def load(self, state: dict[str, Any]) -> list[dict[str, float]]:
        """Resume from what `save` wrote (read with `weights_only=True`); returns the curve so far."""
        self.trainee.clip.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        return state["curve"]
