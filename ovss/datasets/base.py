"""What a data set is: images with label maps, read one at a time from the files their authors distribute."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image

from ovss.datasets.contents import digests
from ovss.datasets.shrink import shrink_image, shrink_labels
from ovss.errors import InputError
from ovss.files import digest
from ovss.images import load_image
from ovss.vocabulary.tables import read_table

__all__ = ["FileDataset", "class_names"]

CODES: dict[str, list[int]] = json.loads((Path(__file__).parent / "codes.json").read_text(encoding="utf-8"))
"""Label codes that are not a plain sequence; see the modules that use them."""
INVALID = -1
READER_VERSION = 1
"""Version of the way generated images are made into samples; part of their fingerprints."""
_FILE_READING = 2
"""Version of the way files are read; part of their data sets' fingerprints. 2: contents count."""
VOID_VARIANT = "-void"
"""Ending of the name of a variant that only differs in which pixels count."""


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth.

    Attributes:
        image: RGB image.
        labels: Class indices (H, W), `Dataset.void` where nothing is known.
        id: Name of the image within the data set.
    """

    image: Image.Image
    labels: Int64[np.ndarray, "H W"]
    id: str


class Dataset(ABC):
    """Images with label maps, in a fixed order: the interface of all data sets.

    Attributes:
        name: Name of the data set.
        split: Which part of it.
        classes: The data set's own class names, in the order of the labels.
        background: Index of the background class; None without one.
        void: Label of pixels that count nowhere: 255, or 65535 where there are more than 255 classes.
        vocabulary_name: What `ovss.load_vocabulary` makes this data set's words from.
        ids: Names of the images, in order.
        fingerprint: SHA-256 that changes when the images, the ground truth or the way they are read changes.
        reading: Which files the ground truth is read from, for people; "" where there are none.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    background: int | None
    void: int
    vocabulary_name: str
    ids: tuple[str, ...]
    fingerprint: str
    reading: str = ""

    @property
    def benchmark(self) -> str:
        """Name by which protocols know the data set: a variant is under the settings of its benchmark."""
        return self.name.removesuffix(VOID_VARIANT)

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read one image."""

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


class Pair(NamedTuple):
    """The two files of an image."""

    id: str
    image: Path
    labels: Path


@dataclass(frozen=True, eq=False)
class FileDataset(Dataset):
    """A data set of image files and label files; see `Dataset` for what its fields mean.

    Attributes:
        pairs: The files, in order.
        decode: Reads a label file into integer codes (H, W).
        table: Label of each code; `INVALID` for codes that must not occur. Codes beyond its end are invalid, too.
        shrink: Whether images and labels are brought to the size of ADE847's released preparation.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    background: int | None
    void: int
    vocabulary_name: str
    pairs: tuple[Pair, ...] = field(repr=False)
    decode: Callable[[Path], np.ndarray] = field(repr=False)
    table: np.ndarray = field(repr=False)
    reading: str = ""
    shrink: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = load_image(pair.image)
        labels = self._full_labels(index)
        if labels.shape != (image.height, image.width):
            raise InputError(
                f"mask '{pair.labels}' is {labels.shape[1]}x{labels.shape[0]} pixels, "
                f"but its image '{pair.image}' is {image.width}x{image.height}"
            )
        if self.shrink:
            return Sample(shrink_image(image), shrink_labels(labels), pair.id)
        return Sample(image, labels, pair.id)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the images, in order."""
        return tuple(pair.id for pair in self.pairs)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, the contents of all files, classes, label table and the way files are read.

        A file that is missing counts as such: reading it is an error, asking for the fingerprint is not. For the cost
        see `ovss.datasets.contents.digests`.
        """
        found = digests([path for pair in self.pairs for path in (pair.image, pair.labels)])
        files = [(pair.id, *found[2 * number : 2 * number + 2]) for number, pair in enumerate(self.pairs)]
        way = [_FILE_READING, self.decode.__name__, self.shrink]
        return digest([way, self.name, self.split, self.classes, self.void, self.table.tolist(), files])

    def codes(self, index: int) -> np.ndarray:
        """What the label file holds, (H, W), before it becomes class indices."""
        path = self.pairs[index].labels
        if not path.exists():
            raise InputError(f"mask '{path}' is missing (image '{self.pairs[index].id}' of {self.name})")
        return self.decode(path)

    def labels(self, index: int) -> Int64[np.ndarray, "H W"]:
        """Label map of one image, at the size of its sample.

        Raises:
            InputError: The file is missing or unreadable, or holds a code outside the list.
        """
        labels = self._full_labels(index)
        return shrink_labels(labels) if self.shrink else labels

    def _full_labels(self, index: int) -> Int64[np.ndarray, "H W"]:
        """Label map at the size of the file."""
        codes = self.codes(index)
        labels = look_up(self.table, codes)
        wrong = labels == INVALID
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InputError(
                f"mask '{self.pairs[index].labels}' holds {int(wrong.sum())} pixels whose label is not in the list of "
                f"{self.name}, the first at row {row}, column {column}: {codes[row, column]}"
            )
        return labels


def look_up(table: np.ndarray, codes: np.ndarray) -> Int64[np.ndarray, "H W"]:
    """Labels of codes; `INVALID` for codes beyond the table."""
    inside = (codes >= 0) & (codes < len(table))
    return np.where(inside, table[np.where(inside, codes, 0)], INVALID)


def label_table(length: int, labels: dict[int, int], default: int = INVALID) -> np.ndarray:
    """Table (length,) from a dictionary of code to label; other codes get `default`."""
    table = np.full(length, default, dtype=np.int64)
    for code, label in labels.items():
        table[code] = label
    return table


def void_label(classes: Sequence[Any]) -> int:
    """The label of pixels that count nowhere."""
    return 255 if len(classes) <= 255 else 65535


def class_names(dataset: str) -> tuple[str, ...]:
    """The data set's own class names, background first where it has one."""
    table = read_table(dataset, "plain")
    names = tuple(entry if isinstance(entry, str) else entry[0] for entry in table["classes"])
    return ("background", *names) if "background" in table else names
