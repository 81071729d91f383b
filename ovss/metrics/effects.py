"""Effects of ingredients that are crossed with each other: every combination is measured on the same images."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ovss.errors import InputError
from ovss.metrics.intervals import of_miou
from ovss.metrics.resampling import Replicates, Resampler, seen_once

__all__ = ["Factor", "design", "effects"]


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
    """What each ingredient and each pair of them does to mIoU, with paired intervals over images.

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
    samples = [counts[label] for label in labels]
    cells = np.eye(len(labels)).reshape(*([2] * len(factors)), -1)  # one axis per factor: off, on; then weights
    main, pairs, contrasts = [], [], []
    for number, factor in enumerate(factors):
        change = np.diff(cells, axis=number).reshape(-1, len(labels))
        for reading, weights in (("alone", change[0]), ("average", change.mean(0)), ("on top", change[-1])):
            main.append({"ingredient": factor.name, "reading": reading})
            contrasts.append(weights)
    for number, factor in enumerate(factors):
        for other, partner in enumerate(factors):
            if other != number:
                pairs.append({"ingredient": factor.name, "with": partner.name})
                both = np.diff(np.diff(cells, axis=number), axis=other)
                contrasts.append(both.reshape(-1, len(labels)).mean(0))
    resampler = Resampler(len(samples[0]), seed=seed)
    scores = Replicates.side_by_side([resampler.replicates(sample, rule)[0].column(0) for sample in samples])
    found = of_miou(scores.combined(np.stack(contrasts, axis=1)), seen_once(samples[0]))
    columns = pd.DataFrame({"effect": found.mean, "effect_low": found.low, "effect_high": found.high})
    first = pd.concat([pd.DataFrame(main), columns[: len(main)]], axis=1)
    second = columns[len(main) :].reset_index(drop=True)
    return first, pd.concat([pd.DataFrame(pairs, columns=["ingredient", "with"]), second], axis=1)
