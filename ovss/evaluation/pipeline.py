"""From a shard of images to its record: images decoded ahead and pixels counted behind, while the backbone works."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone, Companion
from ovss.backbone.devices import pinned, to_device, to_host
from ovss.errors import InputError
from ovss.evaluation.counting import count_tensors, refuse_classes
from ovss.evaluation.extras import Observed, Observer, place_labels
from ovss.evaluation.job import Job
from ovss.evaluation.records import Record, Shard
from ovss.evaluation.scores import save_scores
from ovss.protocols import Geometry
from ovss.segment.labels import LabelRule, ScoreMap
from ovss.segment.oracles import NONE
from ovss.segment.place import PlaceScorer, TrueImage
from ovss.segment.scorer import Scorer
from ovss.segment.stitching import PatchScores
from ovss.segment.windowed import WindowedImage
from ovss.segment.windows import resized_size

__all__ = ["crop_truth"]

_THREADS = 2
LOOKAHEAD = 6
"""Images decoded ahead of the backbone, beyond the ones it has, where a batch has no more; bounds memory whatever the
data set's length."""


@dataclass
class Stopwatch:
    """Seconds the main thread spent on what."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, stage: str, since: float) -> float:
        """Add the time since `since` to a stage; returns the present time."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True)
class _Loaded:
    """An image with its ground truth as the metric rule has it: as an array, as the device gets it, and its areas."""

    index: int
    id: str
    image: WindowedImage
    truth: np.ndarray
    sent: Tensor
    areas: np.ndarray


@dataclass(frozen=True)
class _Bad:
    id: str
    reason: InputError


_Numbers = tuple[str, dict[str, np.ndarray], Future[dict[str, np.ndarray]]]
"""Of one image: its name, counts (3, C) by method, and rows by extra."""


class Pipeline:
    """Evaluates shards of one job with one model.

    Args:
        job: What to evaluate.
        backbone: The model.
        skip_bad: Whether an unreadable image or mask is recorded and left out instead of raised.
        scores_folder: Where saved scores go, one file per image, when the job saves any.
        stopwatch: Collects seconds per stage.
        companion: Second network of the methods that use one.
    """

    def __init__(
        self,
        job: Job,
        backbone: Backbone,
        *,
        skip_bad: bool = False,
        scores_folder: Path | None = None,
        stopwatch: Stopwatch | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.job = job
        self.skip_bad = skip_bad
        self.scores_folder = scores_folder
        self.stopwatch = stopwatch or Stopwatch()
        rest = (job.scored, job.protocol)
        options: dict[str, Any] = {"batch_size": job.batch_size, "companion": companion}
        self._places = place_labels(job.methods, companion) if "oracles" in job.extras else {}
        if "oracles" in job.extras:
            self.scorer: Scorer = PlaceScorer(backbone, job.methods, self._places, *rest, **options)
        else:
            self.scorer = Scorer(backbone, job.methods, *rest, **options)
        self._observer = Observer(job, self._places)
        self._rule = LabelRule.of(job.vocabulary, job.protocol, backbone)
        self._ahead = LOOKAHEAD

    def run(
        self, shards: Iterable[Shard], on_image: Callable[[], object] = lambda: None
    ) -> Iterator[tuple[Shard, Record]]:
        """Evaluate shards in the order given.

        The windows of a shard are batched the same way whatever ran before, so a record does not depend on where an
        earlier run stopped.

        Args:
            shards: Which images.
            on_image: Called after each image.

        Yields:
            Each shard with its record.

        Raises:
            InputError: An image or mask cannot be read, unless `skip_bad`.
        """
        shards = list(shards)
        waiting = deque(index for shard in shards for index in range(*shard))
        ahead: deque[Future[_Loaded | _Bad]] = deque()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="ovss") as pool:
            try:
                for shard in shards:
                    yield shard, self._shard(shard, waiting, ahead, pool, on_image)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _shard(
        self,
        shard: Shard,
        waiting: deque[int],
        ahead: "deque[Future[_Loaded | _Bad]]",
        pool: ThreadPoolExecutor,
        on_image: Callable[[], object],
    ) -> Record:
        skipped: dict[str, str] = {}
        counted: list[_Numbers] = []
        group: list[_Loaded] = []
        for _ in range(*shard):
            while waiting and len(ahead) < self._ahead:
                ahead.append(pool.submit(self._load, waiting.popleft()))
            since = time.perf_counter()
            item = ahead.popleft().result()
            self.stopwatch.time("waiting for input", since)
            if isinstance(item, _Bad):
                if not self.skip_bad:
                    raise item.reason
                skipped[item.id] = str(item.reason)
                on_image()
                continue
            if group and _windows([*group, item]) > self.job.batch_size:
                counted += self._label_and_count(group, pool, on_image)
                group = []
            group.append(item)
            self._ahead = max(self._ahead, len(group))  # the next batch is read while this one is on the device
        if group:
            counted += self._label_and_count(group, pool, on_image)
        since = time.perf_counter()
        images = [(name, counts, extras.result()) for name, counts, extras in counted]
        self.stopwatch.time("waiting for counts", since)
        return Record.collect(
            [(name, counts) for name, counts, _ in images],
            self.job.methods,
            len(self.job.vocabulary.classes),
            skipped,
            {extra: [rows[extra] for _, _, rows in images] for extra in self.job.extras},
        )

    def _load(self, index: int) -> _Loaded | _Bad:
        job = self.job
        try:
            sample = job.dataset[index]
            image = self.scorer.prepare(sample.image)
            truth = crop_truth(sample.labels, self.scorer.geometry)
            if truth.shape != image.size:
                raise InputError(
                    f"mask of '{sample.id}' is {sample.labels.shape[1]}x{sample.labels.shape[0]} pixels, but its image "
                    f"is {sample.image.width}x{sample.image.height}"
                )
        except InputError as error:
            return _Bad(job.dataset.ids[index], error)
        refuse_classes(truth, job, sample.id)  # the data set is wrong then, not an image
        known = self._observer.truth(truth)
        if "oracles" in job.extras:
            image = TrueImage.of(image, torch.from_numpy(known))
        device = self.scorer.backbone.device
        sent = torch.from_numpy(known)
        sent = sent if device.type == "cpu" else pinned(sent.int(), device)
        areas = np.bincount(known[known != NONE], minlength=len(job.vocabulary.classes))
        return _Loaded(index, sample.id, image, known, sent, areas)

    @torch.inference_mode()
    def _label_and_count(
        self, group: list[_Loaded], pool: ThreadPoolExecutor, on_image: Callable[[], object]
    ) -> list[_Numbers]:
        since = time.perf_counter()
        score_maps, finite = self.scorer.start([item.image for item in group])
        since = self.stopwatch.time("backbone and methods", since)
        tallied: list[Tensor] = []
        observed: list[dict[str, Observed]] = []
        for item, found in zip(group, score_maps, strict=True):
            if self.scores_folder is not None and self.job.save_format is not None:
                finite.check()
                kept = {label: found[label] for label in self.job.kept}
                save_scores(self.scores_folder, item.index, item.id, kept, self.job.save_format)
                since = self.stopwatch.time("saving scores", since)
            score_map = {label: self._without_extra_queries(scores) for label, scores in found.items()}
            seen = (item.image.seen.shape[1], item.image.seen.shape[2])
            labels, seen_by_extras = self._observer.observe(
                score_map, item.truth, seen, self.scorer.backbone.patch_size
            )
            observed.append(seen_by_extras)
            truth, classes = to_device(item.sent, labels[0].device).long(), len(self.job.vocabulary.classes)
            tallied.append(torch.stack([count_tensors(one, truth, classes) for one in labels]))
            since = self.stopwatch.time("labels", since)
        arrays = to_host([*tallied, *finite.answers])
        finite.check(arrays[len(group) :])
        counted = []
        for item, one, array in zip(group, observed, arrays[: len(group)], strict=True):
            counts = {
                label: np.stack([hits, item.areas, guess])
                for label, (hits, guess) in zip(self.job.methods, array, strict=True)
            }
            counted.append((item.id, counts, pool.submit(self._observer.extras, one, item.truth)))
            on_image()
        self.stopwatch.time("labels", since)
        return counted

    def _without_extra_queries(self, scores: ScoreMap) -> ScoreMap:
        """Without the words that are only saved; a run that saves scores has them at patch resolution."""
        if not self.job.extra_queries or not isinstance(scores, PatchScores):
            return scores
        return replace(scores, cells=scores.cells[: len(self.job.vocabulary.queries)], rule=self._rule)


def crop_truth(labels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Ground truth as the protocol scores it: at its own size, or resized (nearest pixel) and cropped like the image.

    Args:
        labels: (H, W).
        geometry: The protocol's sizes for the model.
    """
    if geometry.crop is None:
        return labels
    height, width = labels.shape
    new_width, new_height = resized_size(width, height, geometry.short_side, geometry.max_long_side, geometry.size_rule)
    rows, columns = _nearest(height, new_height), _nearest(width, new_width)
    top, left = round((new_height - geometry.crop) / 2), round((new_width - geometry.crop) / 2)
    return labels[rows[top : top + geometry.crop, None], columns[left : left + geometry.crop]]


def _nearest(old: int, new: int) -> np.ndarray:
    """Where PIL's nearest-pixel resize takes its pixels along one axis; PIL is asked because it rounds its own way."""
    line = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    return np.asarray(line.resize((new, 1), Image.Resampling.NEAREST))[0]


def _windows(group: list[_Loaded]) -> int:
    return sum(len(item.image.rows.starts) * len(item.image.columns.starts) for item in group)
