"""Words to classes: class lists of the benchmarks, users' own words, and their text embeddings.

Class: what a pixel gets. Query: a word or phrase given to the text tower; a class has one or several (synonyms). Word:
a query as a user or a class list writes it. Background: class 0 of some vocabularies, with words of its own, or none
where a protocol gives it a constant score. Variant: one of the lists that circulate for a data set. Template: a
sentence with one {} for the query; its embedding is averaged over the templates.

Everything but `embedding` answers without a model library, so that listing and checking words takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.vocabulary.embedding import embed_vocabulary, tensor_digest
    from ovss.vocabulary.vocabulary import Vocabulary, Words, load_vocabulary

_HOMES = {
    "Vocabulary": "vocabulary",
    "Words": "vocabulary",
    "embed_vocabulary": "embedding",
    "load_vocabulary": "vocabulary",
    "tensor_digest": "embedding",
}

__all__ = ["Vocabulary", "Words", "embed_vocabulary", "load_vocabulary", "tensor_digest"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ovss.vocabulary' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
