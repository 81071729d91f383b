"""A data set with something changed: corrupted images, or more classes to choose from than it has."""

from dataclasses import dataclass, replace
from functools import cached_property

from ovss.datasets.base import Dataset, Sample
from ovss.errors import InputError
from ovss.files import digest
from ovss.images.corruptions import CORRUPTIONS, corrupt
from ovss.provenance import code_hash
from ovss.vocabulary import Vocabulary
from ovss.vocabulary.distractors import DISTRACTORS

__all__ = ["CorruptedDataset", "DistractedDataset", "with_distractors"]

_OTHERS = "none of the classes"
"""Class that distractors stand for; no pixel belongs to it."""


class _Changed(Dataset):
    """Another data set, whose fields it has where nothing else is said."""

    original: Dataset

    def __getattr__(self, name: str) -> object:
        if name.startswith("_") or name == "original":
            raise AttributeError(name)
        return getattr(self.original, name)

    def __len__(self) -> int:
        return len(self.original)

    @property
    def benchmark(self) -> str:
        """Settings are those of the data set itself."""
        return self.original.benchmark


@dataclass(frozen=True, eq=False)
class CorruptedDataset(_Changed):
    """A data set whose images went wrong; the ground truth stays.

    Attributes:
        original: The data set.
        kind: One of `ovss.images.corruptions.CORRUPTIONS`.
        seed: Of everything that is drawn at random; each image has a seed of its own.

    Raises:
        InputError: Unknown kind.

    Example:
        >>> import ovss
        >>> foggy = CorruptedDataset(ovss.load_dataset("scenes", length=2), "fog")
        >>> foggy.name, foggy[0].id, foggy[0].image.size
        ('scenes, fog', 'val_000000', (192, 192))
    """

    original: Dataset
    kind: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in CORRUPTIONS:
            raise InputError(f"corruption '{self.kind}' is unknown; it is one of {', '.join(CORRUPTIONS)}")

    def __getitem__(self, index: int) -> Sample:
        sample = self.original[index]
        number = range(len(self))[index]
        return replace(sample, image=corrupt(sample.image, self.kind, self.seed * len(self) + number))

    @cached_property
    def name(self) -> str:
        """Name of the data set and what happened to it."""
        return f"{self.original.name}, {self.kind.replace('_', ' ')}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the data set's own, kind, seed and the code that corrupts."""
        return digest([self.original.fingerprint, self.kind, self.seed, code_hash("ovss.images.corruptions")])


@dataclass(frozen=True, eq=False)
class DistractedDataset(_Changed):
    """A data set with one class more, which no pixel belongs to; see `with_distractors`.

    Attributes:
        original: The data set.
    """

    original: Dataset

    def __getitem__(self, index: int) -> Sample:
        return self.original[index]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes, and the one for all that is none of them."""
        return (*self.original.classes, _OTHERS)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the data set's own and the class that was added."""
        return digest([self.original.fingerprint, _OTHERS])


def with_distractors(dataset: Dataset, words: Vocabulary, count: int) -> tuple[DistractedDataset, Vocabulary]:
    """A data set and its words, with words beside them that stand for nothing in it.

    Measures over its classes must leave out the last one; pixels that it takes are lost to the others.

    Args:
        dataset: The data set.
        words: Its words.
        count: Number of distractors: the first ones of the list that are no words of the data set.

    Returns:
        What `ovss.evaluate` takes as data set and as `vocabulary`.

    Raises:
        InputError: The list has not so many.

    Example:
        >>> import ovss
        >>> data, words = with_distractors(ovss.load_dataset("scenes"), ovss.load_vocabulary("scenes"), 50)
        >>> len(data.classes), len(words.words[-1]), words.words[-1][:2]
        (23, 50, ('accordion', 'anchor'))
    """
    taken = {query.lower() for query in words.queries}
    free = [word for word in DISTRACTORS if word not in taken]
    if not 0 < count <= len(free):
        raise InputError(f"{count} distractors beside '{words.name}'; there are 1 to {len(free)}")
    more = replace(
        words,
        classes=(*words.classes, _OTHERS),
        queries=(*words.queries, *free[:count]),
        query_class=(*words.query_class, *[len(words.classes)] * count),
    )
    return DistractedDataset(dataset), more
