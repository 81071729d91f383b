"""One sample of images seen many times over: drawn again with replacement, and with each image left out in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ovss.errors import InputError
from ovss.metrics import TRUTH, measure

__all__ = ["RESAMPLES", "Replicates", "Resampler", "seen_once"]

RESAMPLES = 1000
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Replicates:
    """Numbers of a sample, of its resamples, and of the sample without each of its images.

    All three are linear in the numbers, so that replicates of a difference are the difference of replicates, as long as
    both come from the same images and the same resamples.

    Attributes:
        estimate: Of the sample, (k,).
        resampled: Of each resample, (R, k).
        left_out: Of the sample without image i, (images, k).
    """

    estimate: np.ndarray
    resampled: np.ndarray
    left_out: np.ndarray

    def __sub__(self, other: "Replicates") -> "Replicates":
        return Replicates(
            self.estimate - other.estimate, self.resampled - other.resampled, self.left_out - other.left_out
        )

    def column(self, number: int) -> "Replicates":
        """One of the numbers alone, k = 1."""
        one = slice(number, number + 1)
        return Replicates(self.estimate[one], self.resampled[:, one], self.left_out[:, one])

    @classmethod
    def side_by_side(cls, parts: Sequence["Replicates"]) -> "Replicates":
        """Numbers of several replicates as one."""
        columns = ([getattr(part, name) for part in parts] for name in ("estimate", "resampled", "left_out"))
        return cls(*(np.concatenate(column, axis=-1) for column in columns))

    def combined(self, weights: np.ndarray) -> "Replicates":
        """Linear combinations of the numbers.

        Args:
            weights: (k, m).
        """
        return Replicates(self.estimate @ weights, self.resampled @ weights, self.left_out @ weights)


class Resampler:
    """Draws images with replacement; what is given the same resampler is resampled alike.

    Args:
        images: Number of images n.
        resamples: Number of resamples R, each of n images.
        seed: Of the draws.

    Raises:
        InputError: There are no images.
    """

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        if not images:
            raise InputError("there are no images to resample")
        self.images = images
        generator = np.random.default_rng(seed)
        # An image is drawn about once per resample and never 255 times: one byte holds it, 50 MB for 50,000 images.
        self.weights = np.empty((resamples, images), dtype=np.uint8)
        step = max(1, CHUNK_BYTES // (8 * images))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            drawn = generator.integers(0, images, (size, images)) + images * np.arange(size)[:, None]
            self.weights[start : start + size] = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, -1)

    def replicates(self, counts: np.ndarray, rule: str = "standard") -> tuple[Replicates, Replicates]:
        """The four means and the IoU of each class, over and over.

        Args:
            counts: Records (images, 3, C).
            rule: Metric rule, see `ovss.metrics.measure`.

        Returns:
            Replicates of the means (k = 4, in the order of `ovss.metrics.MEASURES`) and of IoU (k = C), in percent.

        Raises:
            InputError: The records are not of as many images as the resampler's.
        """
        self._check(counts)
        total = counts.sum(axis=0)
        whole = measure(total, rule)
        drawn = [measure(sums, rule) for sums in self._sums(counts)]
        step = max(1, CHUNK_BYTES // (8 * counts[0].size))
        rest = [measure(total - counts[start : start + step], rule) for start in range(0, self.images, step)]
        means, ious = (
            Replicates(
                getattr(whole, name),
                np.concatenate([getattr(part, name) for part in drawn]),
                np.concatenate([getattr(part, name) for part in rest]),
            )
            for name in ("mean", "iou")
        )
        return means, ious

    def of_sums(self, numbers: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> Replicates:
        """Replicates of what is made from numbers summed over images.

        Args:
            numbers: Per image, (images, ...).
            function: From sums (some, ...) to the k numbers (some, k) that are asked for.

        Raises:
            InputError: The numbers are not of as many images as the resampler's.
        """
        self._check(numbers)
        total = numbers.sum(axis=0)
        step = max(1, CHUNK_BYTES // (8 * numbers[0].size))
        rest = [function(total - numbers[start : start + step]) for start in range(0, self.images, step)]
        drawn = [function(sums) for sums in self._sums(numbers)]
        return Replicates(function(total[None])[0], np.concatenate(drawn), np.concatenate(rest))

    def of_images(self, function: Callable[[np.ndarray], np.ndarray]) -> Replicates:
        """Replicates of what depends on how often each image is there.

        Args:
            function: From how often each image was drawn (some, images) to the k numbers (some, k).
        """
        step = max(1, CHUNK_BYTES // (64 * self.images))
        drawn = [function(self.weights[at : at + step].astype(np.float64)) for at in range(0, len(self.weights), step)]
        rest = []
        for start in range(0, self.images, step):
            left = np.arange(start, min(start + step, self.images))
            rest.append(function(1.0 - (np.arange(self.images) == left[:, None])))
        return Replicates(function(np.ones((1, self.images)))[0], np.concatenate(drawn), np.concatenate(rest))

    def _check(self, numbers: np.ndarray) -> None:
        if len(numbers) != self.images:
            raise InputError(f"the records are of {len(numbers)} images, the resampler draws from {self.images}")

    def _sums(self, counts: np.ndarray) -> Iterator[np.ndarray]:
        """Summed records (some, 3, C) of resample after resample; single precision is enough for their spread."""
        flat = counts.reshape(self.images, -1).astype(np.float32)
        step = max(1, CHUNK_BYTES // (8 * max(self.images, flat.shape[1])))
        for start in range(0, len(self.weights), step):
            weights = self.weights[start : start + step].astype(np.float32)
            yield (weights @ flat).reshape(len(weights), *counts.shape[1:])


def seen_once(counts: np.ndarray) -> float:
    """Share of the classes in the ground truth that a single image of the sample shows.

    It estimates how much of the class list the sample has not seen: by Good and Turing's argument the next image brings
    a new class about as often as the sample holds classes that came once.

    Args:
        counts: Records (images, 3, C).
    """
    shown = (counts[:, TRUTH] > 0).sum(axis=0)
    return float((shown == 1).sum() / max(1, (shown > 0).sum()))
