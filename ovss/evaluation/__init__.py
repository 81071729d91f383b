"""One run: backbone x methods x data set x protocol, resumable, and what comes out of it.

Words used here:
    job: All that decides the counts of a run, apart from the weights.
    key: SHA-256 over all that can move a count; runs with different keys share nothing.
    shard: Consecutive images of the data set.
    record: Counts of one shard, one small file: per image, method and class the intersection, the ground-truth area
        and the predicted area in pixels.
    saved scores: Scores of each image on disk, from which `relabel` makes labels under other rules or words.
    extras: What a run records beside its counts: oracles, kinds of errors, confidences.
    facts: What every row of a table says of its origin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.evaluation.agreement import rank_agreement
    from ovss.evaluation.results import Evaluation
    from ovss.evaluation.run import SHARD_SIZE, evaluate

_SUBMODULES = {
    "Evaluation": "results",
    "SHARD_SIZE": "run",
    "evaluate": "run",
    "rank_agreement": "agreement",
}

__all__ = ["SHARD_SIZE", "Evaluation", "evaluate", "rank_agreement"]


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'ovss.evaluation' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
