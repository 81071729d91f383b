"""Effects of ingredients that are crossed with each other: every combination is measured on the same images."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ovss.errors import InputError
from ovss.metrics import measure

RESAMPLES = 1000
LEVEL = 95.0
CHUNK = 100
"""Resamples that are summed at a time."""


@dataclass(frozen=True)
class Factor:
    """An ingredient that is left out or put in.

    Attributes:
        name: Its name.
        off: Parameters without it.
        on: Parameters with it.
    """

    name: str
    off: Mapping[str, Any]
    on: Mapping[str, Any]


def design(factors: Sequence[Factor]) -> dict[str, dict[str, Any]]:
    """All combinations: label -> parameters; the label lists the ingredients that are on, "-" none.

    Args:
        factors: Ingredients; the last one changes fastest.

    Raises:
        InputError: Two factors set the same parameter or have the same name.
    """
    touched = [name for factor in factors for name in {**factor.off, **factor.on}]
    names = [factor.name for factor in factors]
    if len(set(touched)) < len(touched) or len(set(names)) < len(names):
        raise InputError(f"ingredients {', '.join(names)} must have different names and set different parameters")
    rows = {}
    for switches in itertools.product((False, True), repeat=len(factors)):
        chosen = [factor.on if on else factor.off for factor, on in zip(factors, switches, strict=True)]
        label = " + ".join(factor.name for factor, on in zip(factors, switches, strict=True) if on)
        rows[label or "-"] = {name: value for part in chosen for name, value in part.items()}
    return rows


def effects(
    counts: Mapping[str, np.ndarray], factors: Sequence[Factor], rule: str = "standard", *, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each ingredient and each pair of them does to mIoU, with paired bootstrap intervals over images.

    Args:
        counts: Per label of `design`, counts (images, 3, C) as in `ovss.metrics`.
        factors: The ingredients, as given to `design`.
        rule: Metric rule.
        seed: Of the resampling.

    Returns:
        Two frames with effect, effect_low and effect_high in percentage points. The first has a row per ingredient and
        reading: "alone" (the others off), "average" (over the others' combinations), "on top" (the others on). The
        second has a row per ordered pair: how much more the one adds when the other is on than when it is off, averaged
        over the remaining ones.
    """
    labels = list(design(factors))
    scores = _resampled_scores([counts[label] for label in labels], rule, seed)  # (1 + R, combinations)
    cube = scores.reshape(-1, *([2] * len(factors)))  # one axis per factor: off, on
    main, pairs = [], []
    for number, factor in enumerate(factors):
        change = np.diff(np.moveaxis(cube, 1 + number, -1), axis=-1)[..., 0].reshape(len(cube), -1)
        for reading, values in (("alone", change[:, 0]), ("average", change.mean(1)), ("on top", change[:, -1])):
            main.append({"ingredient": factor.name, "reading": reading, **_interval(values)})
        for other, partner in enumerate(factors):
            if other != number:
                moved = np.moveaxis(cube, (1 + number, 1 + other), (-2, -1))
                both = np.diff(np.diff(moved, axis=-1), axis=-2).reshape(len(cube), -1).mean(1)
                pairs.append({"ingredient": factor.name, "with": partner.name, **_interval(both)})
    return pd.DataFrame(main), pd.DataFrame(pairs)


def _resampled_scores(counts: Sequence[np.ndarray], rule: str, seed: int) -> np.ndarray:
    """mIoU of all images, then of each resample: (1 + R, combinations), the same resamples for all."""
    images = len(counts[0])
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, images), dtype=draws.dtype), draws]).astype(np.float64)
    columns = []
    for count in counts:
        flat = count.reshape(images, -1).astype(np.float64)
        parts = [weights[start : start + CHUNK] @ flat for start in range(0, len(weights), CHUNK)]
        sums = np.concatenate(parts).reshape(-1, *count.shape[1:])  # (1 + R, 3, C)
        columns.append(measure(sums, rule).mean[:, 0])
    return np.stack(columns, axis=1)


def _interval(values: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(values[1:], [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return {"effect": float(values[0]), "effect_low": float(low), "effect_high": float(high)}
