"""Does a data set on disk hold what it should? Counts, sizes, label values, missing files."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ovss.datasets.base import INVALID, FileDataset, look_up
from ovss.errors import InputError
from ovss.images import image_size

__all__ = ["Inspection", "inspect"]


@dataclass
class Inspection:
    """What was found.

    Attributes:
        images: Images the data set lists.
        read: Images whose two files were read.
        sizes: Image sizes (width, height) with their numbers.
        pixels: Pixels of each class, int64 (C,).
        void: Pixels that count nowhere.
        problems: One line each: missing files, unreadable ones, sizes that differ, labels outside the list.
    """

    images: int
    pixels: np.ndarray
    read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    void: int = 0
    problems: list[str] = field(default_factory=list)


def inspect(dataset: FileDataset, indices: Iterable[int] | None = None) -> Inspection:
    """Read the label files and the headers of the images of a data set.

    Args:
        dataset: What to look at.
        indices: Which images; None: all.
    """
    result = Inspection(images=len(dataset), pixels=np.zeros(len(dataset.classes), dtype=np.int64))
    for index in range(len(dataset)) if indices is None else indices:
        pair = dataset.pairs[index]
        size = _size(dataset, index, result.problems)
        try:
            codes = dataset.codes(index)
        except InputError as error:
            result.problems.append(str(error))
            continue
        labels = look_up(dataset.table, codes)
        wrong = np.unique(codes[labels == INVALID])
        if len(wrong):
            values = ", ".join(map(str, wrong[:8]))
            result.problems.append(f"mask '{pair.labels}' holds labels outside the list: {values}")
        counts = np.bincount(labels[labels >= 0], minlength=dataset.void + 1)
        result.pixels += counts[: len(dataset.classes)]
        result.void += int(counts[dataset.void])
        if size is not None:
            result.read += 1
            result.sizes[size] += 1
            if labels.shape != (size[1], size[0]):
                sizes = f"{labels.shape[1]}x{labels.shape[0]}, its image {size[0]}x{size[1]}"
                result.problems.append(f"mask '{pair.labels}' is {sizes}")
    return result


def _size(dataset: FileDataset, index: int, problems: list[str]) -> tuple[int, int] | None:
    """Size of an image as it stands upright; None, and a problem, when it cannot be read."""
    path = dataset.pairs[index].image
    if not path.exists():
        problems.append(f"image '{path}' is missing (image '{dataset.pairs[index].id}')")
        return None
    try:
        return image_size(path)
    except InputError as error:
        problems.append(f"image '{path}' cannot be read: {error}")
        return None
