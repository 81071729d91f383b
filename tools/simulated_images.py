"""Made-up data sets whose true mIoU is known: counts of images with the traits that make intervals hard.

Class frequencies fall as in VOC, ADE20K, COCO-Stuff and ADE847 (a power of the rank), an image shows few classes, areas
vary by orders of magnitude, a region is found or missed nearly as a whole, and what is missed goes to another class of
the image or to one that is not there at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

PIXELS = 200_000
CONFUSERS = 6
CHUNK = 20_000_000


@dataclass(frozen=True)
class World:
    """What images and methods are like.

    Attributes:
        name: In the tables.
        per_image: Classes per image, as a factor of the class list's own number.
        decay: Added to the class list's exponent of frequency against rank.
        accuracy: Mean logit of the share of a region that is found.
        spread: Spread of that logit over regions of one class; at 3 most are found or missed as a whole.
        present: Share of missed regions that go to another class of the image.
        habitual: Share of the others that go to one of a class's six usual confusers; the rest go anywhere.
    """

    name: str
    per_image: float = 1.0
    decay: float = 0.0
    accuracy: float = 0.0
    spread: float = 1.5
    present: float = 0.55
    habitual: float = 0.7


WORLDS = (
    World("plain"),
    World("scattered", present=0.15, habitual=0.2),
    World("all or nothing", spread=3.0),
    World("poor method", accuracy=-1.0, present=0.3, habitual=0.4),
    World("good method", accuracy=1.2, present=0.7),
    World("rare classes", per_image=0.4, decay=0.2, present=0.2, habitual=0.2),
    World("even classes", per_image=0.4, decay=-0.5, present=0.2, habitual=0.2),
)
CLASS_LISTS = {21: (2.6, 0.5), 150: (8.5, 1.1), 171: (8.0, 1.0), 847: (14.0, 1.2)}
"""Number of classes -> classes per image, exponent of frequency against rank. With 21, one is a background that every
image shows."""


@dataclass(frozen=True)
class Population:
    """Counts of all images there are; samples are drawn from it with replacement.

    Attributes:
        counts: Per method, sparse (images, 3 C): intersections, ground-truth areas, predicted areas.
        classes: Number of classes C.
    """

    counts: tuple[sparse.csr_matrix, ...]
    classes: int

    def total(self, method: int = 0) -> np.ndarray:
        """Summed counts (3, C) of a method."""
        return np.asarray(self.counts[method].sum(axis=0)).reshape(3, self.classes)

    def samples(self, images: int, number: int, seed: int) -> Iterator[list[np.ndarray]]:
        """Samples: per method, counts (images, 3, C) int64.

        Args:
            images: Images per sample.
            number: Number of samples.
            seed: Of the draws.
        """
        generator = np.random.default_rng(seed)
        for _ in range(number):
            rows = generator.integers(0, self.counts[0].shape[0], images)
            yield [part[rows].toarray().astype(np.int64).reshape(images, 3, self.classes) for part in self.counts]


def population(world: World, classes: int, images: int, seed: int, methods: int = 1) -> Population:
    """Make the images of a world and what methods predict on them.

    With two methods, both meet the same regions, which are easy or hard for both; they differ in the accuracy of each
    class and in their luck with each region.

    Args:
        world: What it is like.
        classes: One of `CLASS_LISTS`.
        images: Number of images.
        seed: Of everything.
        methods: Number of methods.
    """
    generator = np.random.default_rng(seed)
    shown = _frequencies(world, classes, generator)
    size = generator.normal(0, 0.8, classes)
    if classes == 21:
        size[0] = 1.8
    image, index = _regions(shown, images, generator)
    weight = np.exp(size[index] + generator.normal(size=len(index)))
    share = weight / np.bincount(image, weight, images)[image]
    area = np.maximum(1, np.round(PIXELS * share)).astype(np.int64)
    skill = world.accuracy + generator.normal(0, 1.2, classes)
    ease = generator.normal(size=len(index))
    usual = generator.integers(0, classes, (classes, CONFUSERS))
    liked = generator.lognormal(size=classes)
    parts = []
    for number in range(methods):
        own = skill if number == 0 else skill + generator.normal(0.1, 0.4, classes)
        luck = ease if methods == 1 else np.sqrt(0.7) * ease + np.sqrt(0.3) * generator.normal(size=len(index))
        found = generator.binomial(area, 1 / (1 + np.exp(-(own[index] + world.spread * luck))))
        taken = _confusion(world, image, index, usual, liked / liked.sum(), images, generator)
        parts.append(_counts(image, index, area, found, taken, (images, classes)))
    return Population(tuple(parts), classes)


def interchangeable(pair: Population) -> Population:
    """A pair of methods between which nothing differs: each image twice, once with their results swapped."""
    a, b = pair.counts
    return Population((sparse.vstack([a, b]).tocsr(), sparse.vstack([b, a]).tocsr()), pair.classes)


def _frequencies(world: World, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Share of images that show each class, (C,)."""
    per_image, decay = CLASS_LISTS[classes]
    wanted = max(1.8, per_image * world.per_image)
    rank = np.arange(1, classes + 1.0) ** -(decay + world.decay) * generator.lognormal(0, 0.3, classes)
    scale, shown = 1.0, rank
    for _ in range(60):
        shown = np.minimum(scale * rank, 0.9)
        if classes == 21:
            shown[0] = 1
        scale *= wanted / shown.sum()
    return shown


def _regions(shown: np.ndarray, images: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image and class of every region, by image; each image shows at least one class."""
    image, index = [], []
    step = max(1, CHUNK // len(shown))
    for start in range(0, images, step):
        there = generator.random((min(step, images - start), len(shown)), dtype=np.float32) < shown
        there[~there.any(axis=1), 0] = True
        rows, columns = np.nonzero(there)
        image.append(rows + start)
        index.append(columns)
    return np.concatenate(image), np.concatenate(index)


def _confusion(
    world: World,
    image: np.ndarray,
    index: np.ndarray,
    usual: np.ndarray,
    liked: np.ndarray,
    images: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Class that takes the missed part of each region."""
    regions = len(index)
    first, number = np.searchsorted(image, np.arange(images)), np.bincount(image, minlength=images)
    beside = index[first[image] + generator.integers(0, number[image])]
    habit = usual[index, generator.integers(0, CONFUSERS, regions)]
    anywhere = generator.choice(len(liked), regions, p=liked)
    absent = np.where(generator.random(regions) < world.habitual, habit, anywhere)
    return np.where((generator.random(regions) < world.present) & (beside != index), beside, absent)


def _counts(
    image: np.ndarray,
    index: np.ndarray,
    area: np.ndarray,
    found: np.ndarray,
    taken: np.ndarray,
    shape: tuple[int, int],
) -> sparse.csr_matrix:
    found = np.where(taken == index, area, found)

    def areas(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> sparse.csr_matrix:
        return sparse.coo_matrix((values.astype(np.int32), (rows, columns)), shape).tocsr()

    predicted = (np.r_[found, area - found], np.r_[image, image], np.r_[index, taken])
    return sparse.hstack([areas(found, image, index), areas(area, image, index), areas(*predicted)]).tocsr()
