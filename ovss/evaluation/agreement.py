"""Whether runs agree on the order of the methods: Kendall's rank correlation between protocols, words or data sets."""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from ovss.errors import InputError
from ovss.metrics.intervals import MIN_IMAGES
from ovss.metrics.resampling import Resampler

if TYPE_CHECKING:
    from ovss.evaluation.results import Evaluation

__all__ = ["rank_agreement"]


def rank_agreement(evaluations: "Mapping[str, Evaluation]", seed: int = 0) -> pd.DataFrame:
    """Kendall's tau-b between the orders of the methods by mIoU, for each two runs.

    Runs on the same images are resampled together, others each on its own. A resample mixes true differences between
    runs with the chance of their images, so that tau of resamples is lower than tau of the runs; the interval says how
    low the images alone can make it look.

    Args:
        evaluations: At least two runs by name; methods that both have are compared.
        seed: Of the resampling.

    Returns:
        A row per pair: a, b, methods (number of them), tau, and low and high, the middle 95 % over resamples; these are
        NaN where a run has fewer than 10 images.

    Raises:
        InputError: Fewer than two runs, or fewer than two methods in common.
    """
    if len(evaluations) < 2:
        raise InputError(f"{len(evaluations)} run cannot agree with another; give at least two")
    rows = []
    for (a, first), (b, second) in combinations(evaluations.items(), 2):
        methods = [label for label in first.methods if label in second.methods]
        if len(methods) < 2:
            raise InputError(f"runs '{a}' and '{b}' have {len(methods)} methods in common; at least two have an order")
        together = first.ids == second.ids and first.facts["dataset"] == second.facts["dataset"]
        sides = [_scores(first, methods, seed), _scores(second, methods, seed if together else seed + 1)]
        tau = [kendalltau(*pair).statistic for pair in zip(*sides, strict=True)]
        enough = min(len(first.ids), len(second.ids)) >= MIN_IMAGES
        low, high = np.nanpercentile(tau[1:], [2.5, 97.5]) if enough else (np.nan, np.nan)
        rows.append({"a": a, "b": b, "methods": len(methods), "tau": tau[0], "low": low, "high": high})
    return pd.DataFrame(rows)


def _scores(evaluation: "Evaluation", methods: list[str], seed: int) -> np.ndarray:
    """mIoU of the methods (1 + resamples, methods), of the run itself first."""
    resampler = Resampler(len(evaluation.ids), seed=seed)
    columns = []
    for label in methods:
        means = resampler.replicates(evaluation.counts(label), evaluation.rule)[0]
        columns.append(np.concatenate([means.estimate[:1], means.resampled[:, 0]]))
    return np.stack(columns, axis=1)
