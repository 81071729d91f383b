"""One run: backbone x methods x data set x protocol, resumable, and what comes out of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.evaluation.results import Evaluation
    from ovss.evaluation.run import SHARD_SIZE, evaluate

_SUBMODULES = {
    "Evaluation": "results",
    "SHARD_SIZE": "run",
    "evaluate": "run",
}

__all__ = ["SHARD_SIZE", "Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'ovss.evaluation' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
