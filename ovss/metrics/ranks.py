"""How sure the order of methods is: ranks with intervals, from which methods are certainly better or worse than which.

A method that is certainly worse than k others of M, and certainly better than m, has a rank of k + 1 to M - m.
"Certainly" holds for all comparisons of one method together, so that the interval of its rank does. Which of its M - 1
paired differences could be zero is decided by a limit for the largest of them (the 95 % quantile, over resamples, of
the largest absolute difference from its own mean in standard deviations), on the errors of the calibrated intervals.

Percentiles of the rank over resamples are no such interval: of equal methods, the one that leads in a sample leads in
its resamples, too. The simulation in `docs/intervals.md` compares both. The idea is that of Mogstad, Romano, Shaikh and
Wilhelm, "Inference for Ranks with Applications to Mobility across Neighbourhoods and Academic Achievement across
Countries", Review of Economic Studies 2024; there are no adjustments over all methods at once here, so 95 % is the
promise for each method, not for all.
"""

import numpy as np
from scipy.stats import norm

from ovss.metrics.intervals import of_miou
from ovss.metrics.resampling import Replicates

__all__ = ["rank_intervals", "ranks_of"]

_LEVEL = 95.0


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Ranks (some, methods) of scores (some, methods) from 1; of equal scores all have the better rank."""
    return 1 + (scores[:, None, :] > scores[:, :, None]).sum(-1)


def rank_intervals(scores: Replicates, once: float, level: float = _LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest rank that each method can have.

    Args:
        scores: Replicates of the mIoU of M methods, from one resampling.
        once: `seen_once` of the sample.
        level: Coverage in percent of the rank of each method.

    Returns:
        Two arrays (M,), 1 the best rank. Where images are too few for an interval of a difference, no comparison is
        certain.
    """
    methods = len(scores.estimate)
    low, high = np.ones(methods, dtype=np.int64), np.full(methods, methods)
    if methods < 2:
        return low, high
    for number in range(methods):
        others = np.delete(np.arange(methods), number)
        weights = np.zeros((methods, methods - 1))
        weights[others, np.arange(methods - 1)] = 1
        weights[number] = -1
        differences = scores.combined(weights)  # of all others less this one
        found = of_miou(differences, once, _level_for_all(differences, level))
        low[number] += (found.low > 0).sum()
        high[number] -= (found.high < 0).sum()
    return low, high


def _level_for_all(differences: Replicates, level: float) -> float:
    """Level in percent of intervals that hold all at once in as many samples as `level` says.

    Between that of a single difference, where all move together, and that which their number asks for (Bonferroni).
    """
    spread = differences.resampled.std(axis=0)
    moved = np.abs(differences.resampled - differences.resampled.mean(axis=0))
    away = np.divide(moved, spread, out=np.zeros_like(moved), where=spread > 0).max(axis=1)
    least, most = level, 100 - (100 - level) / len(differences.estimate)
    return float(np.clip(100 * (1 - 2 * norm.sf(np.quantile(away, level / 100))), least, most))
