"""Muon in float32: momentum, orthogonalised per matrix (Jordan et al. 2024, "Muon", Newton-Schulz iteration)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Drive the singular values of (n, a, b) matrices towards 1 by a quintic Newton-Schulz iteration."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon for block matrices; equally shaped matrices are orthogonalised in one batch.

    Args:
        named: (name, parameter) pairs of 2-D parameters; a fused `in_proj` is treated as three matrices q, k, v.
        lr: step size; an update has a root mean square of about 0.2 * lr whatever the shape.
        momentum: Nesterov momentum.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, Tensor]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        named = list(named)
        super().__init__([p for _, p in named], {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._parts = {id(p): 3 if "in_proj" in name else 1 for name, p in named}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            same_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                average = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(average, group["momentum"])
                parts = self._parts[id(p)]
                for target, part in zip(p.chunk(parts), update.chunk(parts), strict=True):
                    same_shape.setdefault(tuple(target.shape), []).append((target, part))
            for shape, pairs in same_shape.items():
                directions = orthogonalise(torch.stack([part for _, part in pairs]))
                step = group["lr"] * 0.2 * max(shape) ** 0.5
                for (target, _), direction in zip(pairs, directions, strict=True):
                    target.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step * direction)
