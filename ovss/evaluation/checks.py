"""What is found out before a run begins: are the parts there, and do they go together?"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovss.backbone import Backbone, Companion
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.evaluation.scores import FORMATS
from ovss.methods import Method
from ovss.protocols import Protocol
from ovss.vocabulary import Vocabulary, load_vocabulary

__all__ = ["image_count", "words_of"]


def image_count(dataset: Dataset, limit: int | None) -> int:
    """Number of images to evaluate.

    Raises:
        InputError: None, or one whose name cannot be written to a record.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 image, not {limit}")
    images = len(dataset) if limit is None else min(limit, len(dataset))
    if not images:
        raise InputError(f"data set '{dataset.name}' has no images")
    for name in dataset.ids:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(
                f"image '{name}' of data set '{dataset.name}' has a name that is not UTF-8; rename the file"
            )
    return images


def words_of(dataset: Dataset, protocol: Protocol, vocabulary: Vocabulary | None) -> Vocabulary:
    """Words of the data set's classes under the protocol, or other words for them.

    Raises:
        InputError: The number of classes differs.
    """
    found = protocol.vocabulary(vocabulary or dataset.vocabulary_name)
    if len(found.classes) != len(dataset.classes):
        raise InputError(
            f"vocabulary '{found.name}' has {len(found.classes)} classes and data set '{dataset.name}' "
            f"{len(dataset.classes)}; they must be the same classes in the same order"
        )
    return found


def extra_queries(dataset: Dataset, vocabulary: Vocabulary, variants: Sequence[str]) -> tuple[str, ...]:
    """Words of other variants of the data set's vocabulary that this one lacks."""
    wanted = [query for variant in variants for query in load_vocabulary(dataset.vocabulary_name, variant).queries]
    return tuple(query for query in dict.fromkeys(wanted) if query not in vocabulary.queries)


def check_cluster(cluster: str, backbone: Backbone, device: str, companion: Companion | None = None) -> None:
    """Find out before any work whether workers can be had and can load the model.

    Raises:
        InputError: They cannot.
    """
    from ovss.evaluation.cluster import ModelSource, worker_count

    worker_count(cluster)
    ModelSource.of(backbone, device, companion)


def check_saving(
    keep_scores: str | None,
    out: str | Path | None,
    cluster: str | None,
    methods: Mapping[str, Method],
    variants: Sequence[str] = (),
) -> None:
    """Find out before any work whether scores can be saved; a warning names the methods whose scores cannot.

    Raises:
        InputError: Unknown number format, no folder, a cluster, or no method but those whose scores are per pixel or
            depend on all words at once; with other words to be scored, a single one of these.
    """
    if keep_scores is None:
        return
    if keep_scores not in FORMATS:
        raise InputError(f"keep_scores='{keep_scores}' is unknown; it is one of {', '.join(FORMATS)}")
    if out is None:
        raise InputError("scores can only be saved in a folder; give out as well")
    if cluster is not None:
        raise InputError("scores are saved on one machine only; leave out cluster or keep_scores")
    left_out = []
    for label, method in methods.items():
        if method.refines:
            left_out.append(f"scores of '{label}' are made per pixel and cannot be saved compactly")
        elif method.compares_words:
            left_out.append(f"scores of '{label}' depend on all words at once and hold for no others")
    if left_out and (variants or len(left_out) == len(methods)):
        raise InputError(f"{left_out[0]}; leave it out")
    if left_out:
        warnings.warn(f"{'; '.join(left_out)}; those of the other methods are saved", UserWarning, stacklevel=3)


def check_words_saved(keep_scores: str | None, protocol: Protocol) -> None:
    """Refuse to save scores of a protocol that chooses among words by what is not saved.

    Raises:
        InputError: It does.
    """
    if keep_scores is not None and protocol.presence != "none":
        raise InputError(
            f"protocol '{protocol.name}' chooses words by the model's answers for windows, which are not saved; "
            'use presence = "none" or leave out keep_scores'
        )
