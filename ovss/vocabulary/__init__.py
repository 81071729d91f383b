"""Words to classes: class lists, users' own words, and their text embeddings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.vocabulary.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary, tensor_digest

_HOMES = {
    "Vocabulary": "vocabulary",
    "embed_vocabulary": "vocabulary",
    "load_vocabulary": "vocabulary",
    "tensor_digest": "vocabulary",
}

__all__ = ["Vocabulary", "embed_vocabulary", "load_vocabulary", "tensor_digest"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ovss.vocabulary' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
