"""What a run can record beside its counts: oracles, kinds of errors, confidences; per image, as integers that add up.

Each extra is a list of rows. Every row begins with the image and the method; then

- oracles: number of the oracle in `ORACLES`, class, intersection, predicted area. The ground-truth area is in the
  counts. Rows of "ceiling", which no method has a part in, are those of the first one.
- errors: class and the numbers of `ERRORS`. Segment errors are what the counts have left of them.
- calibration: bin of confidence, pixels, wrong pixels, and what the sum of confidences exceeds pixels times the middle
  of the bin by, in units of 1 / `_FINENESS`; of each group of the calibration error, the first bin with pixels has that
  of all its bins.

Classes, oracles and bins with nothing to tell have no row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ovss.backbone import Companion
from ovss.backbone.devices import to_host
from ovss.evaluation.job import Job
from ovss.methods import Method
from ovss.metrics import (
    INTERSECTION,
    PREDICTION,
    TRUTH,
    NumberedTruth,
    band_counts,
    confidence_record,
    count_labels,
    split_errors,
)
from ovss.segment.labels import ScoreMap
from ovss.segment.oracles import NONE, TrueRegions
from ovss.segment.place import why_not

__all__ = [
    "ERRORS",
    "EXTRAS",
    "ORACLES",
    "STARTS",
    "UPPER",
    "Observer",
    "asked",
    "dense_confidences",
    "dense_errors",
    "dense_oracle",
    "place_labels",
    "refusals",
]

EXTRAS = ("oracles", "errors", "calibration")
ORACLES = ("presence", "place", "presence + place", "naming", "ceiling")
ERRORS = ("FP_boundary", "FN_boundary", "FP_extent", "FN_extent", "boundary_intersection", "boundary_union")
_GROUPS = 15
"""Groups of the calibration error, of equal width."""
UPPER = np.array([*np.arange(1, 29) / 30, *(1 - 10.0 ** -(np.arange(1, 16) / 4) / 15), 1.0])
"""Upper ends of the bins of confidence: two in each group, but sixteen in the last one, where most pixels are: there,
each bin is 10^(1/4) times nearer to 1 than the one before, so that the order of the surest pixels is kept."""
STARTS = np.array([*range(0, 29, 2)])
"""First bin of each group."""
_MIDDLE = (UPPER + np.concatenate([[0.0], UPPER[:-1]])) / 2
_FINENESS = 4
"""Units of a pixel's confidence that sums are recorded in."""
_WIDTHS = {"oracles": 5, "errors": 2 + len(ERRORS), "calibration": 5}
"""Numbers in a row, without the image."""


def asked(**wanted: bool) -> tuple[str, ...]:
    """The extras that are asked for, in their order."""
    return tuple(name for name in EXTRAS if wanted[name])


def place_labels(methods: Mapping[str, Method], companion: Companion | None = None) -> dict[str, str]:
    """Methods whose attention can be kept within true classes, with the label that their scores have then."""
    return {label: f"{label} within classes" for label, method in methods.items() if not why_not(method, companion)}


def refusals(methods: Mapping[str, Method], companion: Companion | None = None) -> dict[str, str]:
    """Why the other methods have no oracle of place."""
    reasons = {label: why_not(method, companion) for label, method in methods.items()}
    return {label: reason for label, reason in reasons.items() if reason}


@dataclass(frozen=True)
class Observed:
    """What is seen of one image under one method, before it is counted.

    Attributes:
        labels: Label map (H, W).
        confidence: Probability of each label, where it is recorded.
        oracles: Label maps by oracle.
    """

    labels: np.ndarray
    confidence: np.ndarray | None = None
    oracles: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Observer:
    """Sees and counts the images of one job.

    Attributes:
        job: What is evaluated.
        places: Labels of the scores within classes by label of the method; see `place_labels`.
    """

    job: Job
    places: Mapping[str, str]

    def truth(self, labels: np.ndarray) -> np.ndarray:
        """Ground truth (H, W), int64, as the metric rule has it; `NONE` for pixels that do not count."""
        job, void_class = self.job, self.void_class
        found = labels.astype(np.int64)
        void = labels == job.dataset.void
        found[(found < 0) | (found >= len(job.vocabulary.classes))] = NONE  # counting refuses them
        if void_class is None:
            found[void] = NONE
        else:
            found[void] = void_class
            if (found == void_class).all():
                found[:] = NONE
        return found

    @property
    def void_class(self) -> int | None:
        """Class that void pixels belong to; None: they do not count."""
        return self.job.vocabulary.background if self.job.protocol.metric == "cliptrase" else None

    def observe(
        self, scores: Mapping[str, ScoreMap], truth: np.ndarray, seen: tuple[int, int], patch: int
    ) -> tuple[list[Tensor], dict[str, Observed]]:
        """Label maps (H, W) of one image, in the order of the methods, where the scores are; and what the extras see.

        Args:
            scores: Score maps by method, those within classes too.
            truth: See `truth`.
            seen: Height and width of the image as the model sees it.
            patch: Side of a patch in pixels.
        """
        regions = TrueRegions(torch.from_numpy(truth)) if "oracles" in self.job.extras else None
        maps: list[Tensor] = []
        sure: list[Tensor] = []
        answered: list[dict[str, np.ndarray]] = []
        for label in self.job.methods:
            found, oracles = scores[label], {}
            if regions is not None:
                found = found.held()
                oracles |= {"presence": regions.with_presence(found), "naming": regions.named(found)}
                if label in self.places:
                    placed = scores[self.places[label]].held()
                    oracles |= {"place": placed.labels(), "presence + place": regions.with_presence(placed)}
                if not maps:
                    oracles["ceiling"] = regions.per_cell(patch, seen, len(self.job.vocabulary.classes))
            if "calibration" in self.job.extras:
                labels, confidence = found.decide()
                sure.append(confidence)
            else:
                labels = found.label_map()
            maps.append(labels)
            answered.append(oracles)
        if not self.job.extras:
            return maps, {}
        arrays = to_host([*maps, *sure])
        confidences = arrays[len(maps) :] or [None] * len(maps)
        parts = zip(self.job.methods, arrays[: len(maps)], confidences, answered, strict=True)
        return maps, {label: Observed(array, confidence, oracles) for label, array, confidence, oracles in parts}

    def extras(self, observed: Mapping[str, Observed], truth: np.ndarray) -> dict[str, np.ndarray]:
        """Rows (n, k) of one image by extra, without the number of the image.

        Args:
            observed: What `observe` saw.
            truth: See `truth`.
        """
        known = _Known(truth, len(self.job.vocabulary.classes))
        result = {}
        for name in self.job.extras:
            parts = [np.empty((0, _WIDTHS[name]), dtype=np.int64)]
            for number, one in enumerate(observed.values()):
                if known.anything:
                    rows = _ROWS[name](one, known)
                    parts.append(np.insert(rows, 0, number, axis=1))
            result[name] = np.concatenate(parts)
        return result


@dataclass(frozen=True)
class _Known:
    """Ground truth (H, W) of one image with `NONE` for what does not count, and what is made of it for all methods."""

    labels: np.ndarray
    classes: int

    @cached_property
    def anything(self) -> bool:
        return bool((self.labels != NONE).any())

    @cached_property
    def numbered(self) -> NumberedTruth:
        return NumberedTruth.of(self.labels, self.classes, NONE)


def _oracle_rows(one: Observed, truth: _Known) -> np.ndarray:
    parts = [np.empty((0, 4), dtype=np.int64)]
    for name, labels in one.oracles.items():
        found = count_labels(labels, truth.labels, truth.classes, void=NONE)[[INTERSECTION, PREDICTION]]
        present = np.flatnonzero(found.any(0))
        oracle = np.full(len(present), ORACLES.index(name))
        parts.append(np.column_stack([oracle, present, found[:, present].T]))
    return np.concatenate(parts)


def _error_rows(one: Observed, truth: _Known) -> np.ndarray:
    guess = truth.numbered.number(one.labels)
    kinds, bands = split_errors(guess, truth.numbered), band_counts(guess, truth.numbered)
    found = np.column_stack([*(kinds[name] for name in ERRORS[:-2]), bands])
    present = np.flatnonzero(found.any(1))
    return np.column_stack([present, found[present]])


def _calibration_rows(one: Observed, truth: _Known) -> np.ndarray:
    assert one.confidence is not None
    pixels, hits, total = confidence_record(one.confidence, one.labels, truth.labels, void=NONE, bins=UPPER)
    # Only the sum of each group is ever asked for, so that one bin speaks for all of a group.
    groups = np.add.reduceat(total - pixels * _MIDDLE, STARTS)
    present = np.flatnonzero(pixels)
    speakers, spoken = np.unique(np.searchsorted(STARTS, present, side="right") - 1, return_index=True)
    rest = np.zeros(len(UPPER))
    rest[present[spoken]] = groups[speakers]
    found = np.column_stack([pixels, pixels - hits, np.rint(rest * _FINENESS)]).astype(np.int64)
    return np.column_stack([present, found[present]])


_ROWS: dict[str, Callable[[Observed, _Known], np.ndarray]] = {
    "oracles": _oracle_rows,
    "errors": _error_rows,
    "calibration": _calibration_rows,
}
"""What makes the rows of an extra, without the numbers of image and method."""


def dense_oracle(rows: np.ndarray, counts: np.ndarray, oracle: str, method: int) -> np.ndarray:
    """Counts (images, 3, C) of an oracle.

    Args:
        rows: Rows of the extra "oracles".
        counts: Counts (images, 3, C) of the method, for the ground truth.
        oracle: One of `ORACLES`.
        method: Number of the method.
    """
    number = 0 if oracle == "ceiling" else method
    mine = rows[(rows[:, 1] == number) & (rows[:, 2] == ORACLES.index(oracle))]
    dense = np.zeros_like(counts)
    dense[:, TRUTH] = counts[:, TRUTH]
    dense[mine[:, 0], INTERSECTION, mine[:, 3]] = mine[:, 4]
    dense[mine[:, 0], PREDICTION, mine[:, 3]] = mine[:, 5]
    return dense


def dense_errors(rows: np.ndarray, counts: np.ndarray, method: int) -> np.ndarray:
    """Numbers (images, 6, C) of the extra "errors" in the order of `ERRORS`.

    Args:
        rows: Rows of the extra.
        counts: Counts (images, 3, C) of the method, for the shape.
        method: Number of the method.
    """
    mine = rows[rows[:, 1] == method]
    dense = np.zeros((len(counts), len(ERRORS), counts.shape[2]), dtype=np.int64)
    dense[mine[:, 0], :, mine[:, 2]] = mine[:, 3:]
    return dense


def dense_confidences(rows: np.ndarray, images: int, method: int) -> np.ndarray:
    """Records (images, 3, B) as `ovss.metrics.confidence_record` makes them for `UPPER`, sums of confidences by group.

    Args:
        rows: Rows of the extra "calibration".
        images: Number of images.
        method: Number of the method.
    """
    mine = rows[rows[:, 1] == method]
    dense = np.zeros((images, 3, len(UPPER)))
    dense[mine[:, 0], :, mine[:, 2]] = mine[:, 3:]
    pixels, wrong, rest = dense[:, 0], dense[:, 1], dense[:, 2]
    return np.stack([pixels, pixels - wrong, rest / _FINENESS + pixels * _MIDDLE], axis=1)
