"""One run: backbone x methods x data set x protocol, resumable, on one machine or a cluster."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovss.backbone import Backbone, Companion, backbone_from
from ovss.datasets import Dataset, load_dataset
from ovss.errors import InputError
from ovss.evaluation.checks import check_cluster, check_saving, check_words_saved, extra_queries, image_count, words_of
from ovss.evaluation.continuing import check_resumable, note_start
from ovss.evaluation.extras import asked, refusals
from ovss.evaluation.identity import facts_of, richest, run_key
from ovss.evaluation.job import Job
from ovss.evaluation.pipeline import Pipeline, Stopwatch
from ovss.evaluation.records import Record, Shard, Store, make_folder, make_shards
from ovss.evaluation.relabel import describe
from ovss.evaluation.results import Evaluation
from ovss.evaluation.scores import scores_path
from ovss.files import only_run, sweep
from ovss.methods import Method, resolve_methods
from ovss.methods.tuned import set_per_dataset, tuned_names, under_protocol
from ovss.protocols import Protocol
from ovss.provenance.outside_code import outside_code
from ovss.segment import resolve_protocol
from ovss.segment.checks import check_companion, check_methods
from ovss.vocabulary import Vocabulary

__all__ = ["SHARD_SIZE", "Evaluation", "evaluate"]

_BATCH_SIZES = {"cuda": 64}
_BATCH_SIZE = 16
SHARD_SIZE = 32


def evaluate(
    backbone: Backbone | str,
    methods: str | Method | Sequence[str | Method] | Mapping[str, str | Method],
    dataset: str | Dataset,
    *,
    protocol: str | Protocol | None = None,
    windows: str | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    cluster: str | None = None,
    worker_device: str | None = None,
    worker_timeout: float = 3600,
    vocabulary: Vocabulary | None = None,
    skip_bad: bool = False,
    keep_scores: str | None = None,
    keep_variants: Sequence[str] = (),
    batch_size: int | None = None,
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    progress: bool = False,
    companion: Companion | None = None,
    oracles: bool = False,
    errors: bool = False,
    calibration: bool = False,
) -> Evaluation:
    """Measure methods on a data set, all of them on one backbone pass.

    Args:
        backbone: A model from `load_backbone`, or its name: "tiny", "ViT-B-16=openai".
        methods: A name, a `Method`, several of them, a dictionary label -> method, or "all".
        dataset: A data set from `load_dataset`, or its name.
        protocol: Name, file or `Protocol`; its overrides for the data set are applied here. None is "window224", or
            "study" for the embedded model.
        windows: "shared" lets the attention of the last block cross the borders of windows, "apart" does not; None is
            what the protocol says. Part of the protocol's hash, so that records of one are never taken for the other's.
        out: Folder for records and tables. An interrupted run resumes there; what was made with another model,
            protocol, vocabulary, data set or code (of a method of one's own, too) is not used, a damaged record is made
            again, and what was made under an older protocol of this name, or on files of this data set that changed
            since, is refused. One run at a time may write there. None keeps everything in memory.
        limit: Number of images, from the first one; None takes all.
        cluster: "local:N" for N worker processes, or the address of a Dask scheduler; None runs here.
        worker_device: On a cluster, "cpu" or "cuda" where that is not the kind of device the backbone is on.
        worker_timeout: On a cluster, seconds to wait for a worker whenever the scheduler has none.
        vocabulary: Other words than the data set's own under the protocol; the number of classes must agree.
        skip_bad: Leave out images and masks that cannot be read; every row says how many.
        keep_scores: "float32" or "float16" to save scores beside the records for `ovss relabel`; needs `out`. A warning
            names the methods whose scores cannot be saved.
        keep_variants: Other vocabulary variants of the data set whose scores are saved, too.
        batch_size: Windows per backbone pass; None is 64 on CUDA, else 16.
        shard_size: Images per record; what an interruption costs at most.
        seed: Of the intervals.
        progress: Whether to show a progress bar.
        companion: Second network from `load_companion` for the methods that use one (`proxyclip`), whose rows name it;
            None: CLIP is its own. Protocols with `lposs_features = "companion"` need one.
        oracles: Record what each method would reach if the ground truth answered one question: which classes there are,
            where each is, or both (`Evaluation.oracles`). This and the next two belong to the identity of the run; what
            was made with them is used for a run without them, not the other way round.
        errors: Record where the missing IoU goes, and how well contours agree (`Evaluation.errors`).
        calibration: Record how sure labels are and how often they are right (`Evaluation.calibration`).

    Returns:
        The results; with `out` they are also there as files.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> evaluation = ovss.evaluate(backbone, ["clip", "naclip"], "scenes", limit=2)
        >>> evaluation
        Evaluation(clip, naclip on 2 images of scenes under study, tiny)

    Raises:
        InputError: Unknown names, an image or mask that cannot be read, a folder that cannot be written or that another
            run uses, a method, protocol and model that do not go together, scores that are not finite; with `out`, a
            method of one's own whose source cannot be had.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be a number from 0 to 2**63 - 1, not {seed}")
    if worker_device is not None and cluster is None:
        raise InputError(f"worker_device='{worker_device}' goes with a cluster; the backbone says where this run works")
    backbone = backbone_from(backbone)
    dataset = load_dataset(dataset) if isinstance(dataset, str) else dataset
    images = image_count(dataset, limit)
    protocol = resolve_protocol(protocol, backbone, windows).for_dataset(dataset.benchmark, backbone.name)
    protocol.geometry(backbone)
    chosen = {label: under_protocol(method, protocol) for label, method in resolve_methods(methods).items()}
    vocabulary = words_of(dataset, protocol, vocabulary)
    check_saving(keep_scores, out, cluster, chosen, keep_variants)
    check_words_saved(keep_scores, protocol)
    check_companion(companion, chosen, protocol)
    check_methods(backbone, chosen)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_resumable(folder, dataset, protocol, backbone)
    device = worker_device or backbone.device.type
    if cluster is not None:
        check_cluster(cluster, backbone, device, companion)
    job = Job(
        methods=chosen,
        vocabulary=vocabulary,
        protocol=protocol,
        dataset=dataset,
        batch_size=batch_size or _BATCH_SIZES.get(device, _BATCH_SIZE),
        shard_size=shard_size,
        extra_queries=extra_queries(dataset, vocabulary, keep_variants) if keep_scores else (),
        save_format=keep_scores,
        extras=asked(oracles=oracles, errors=errors, calibration=calibration),
    )
    outside = outside_code(chosen, needed=folder is not None)
    if folder is not None:
        make_folder(folder / "records")
    with nullcontext() if folder is None else only_run(folder, folder / "records" / ".lock"):
        job, key = richest(
            job, folder, images, lambda job: run_key(job, backbone, device, outside, companion, progress=progress)
        )
        facts = facts_of(job, backbone, device, key) | {"seed": seed}
        run = _Run.prepare(job, backbone, device, facts, folder, images, skip_bad, companion)
        run.finish(cluster, worker_timeout, progress)
        evaluation = run.evaluation()
        if folder is not None:
            evaluation.save(folder)
    return evaluation


@dataclass
class _Run:
    """The part of `evaluate` that takes time: records that are not there yet."""

    job: Job
    backbone: Backbone
    device: str
    facts: Mapping[str, Any]
    store: Store
    shards: list[Shard]
    skip_bad: bool
    scores: Path | None
    companion: Companion | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @classmethod
    def prepare(
        cls,
        job: Job,
        backbone: Backbone,
        device: str,
        facts: Mapping[str, Any],
        folder: Path | None,
        images: int,
        skip_bad: bool,
        companion: Companion | None = None,
    ) -> "_Run":
        """Folders of the run, free of what an interruption left half-written, with a note of what they are of."""
        key = facts["key"]
        store = Store(key, folder, job.dataset.ids)
        scores = None if folder is None or job.save_format is None else folder / "scores" / key[:16]
        if scores is not None:
            make_folder(scores)
            describe(scores, job, backbone)
        for place in (store.folder, scores):
            if place is not None:
                sweep(place)
        if store.folder is not None:
            note_start(store.folder, facts)
        shards = make_shards(images, job.shard_size)
        return cls(job, backbone, device, facts, store, shards, skip_bad, scores, companion)

    def evaluation(self) -> Evaluation:
        """What the records say."""
        job = self.job
        return Evaluation(
            self.store,
            self.shards,
            classes=job.vocabulary.classes,
            methods={label: self._describe(method) for label, method in job.methods.items()},
            rule=job.protocol.metric,
            facts=self.facts,
            seconds=self.stopwatch.seconds,
            extras=job.extras,
            refused=refusals(job.methods, self.companion) if "oracles" in job.extras else {},
        )

    def _describe(self, method: Method) -> dict[str, Any]:
        protocol = self.job.protocol
        special = (*set_per_dataset(protocol), *tuned_names(method, protocol))
        described: dict[str, Any] = {
            "method_name": method.name,
            "parameters": method.parameters,
            "support": method.paper.support,
            "set_per_dataset": ", ".join(special),
        }
        used = method.uses_companion or protocol.lposs_features == "companion"
        if used and self.companion is not None:
            described |= self.companion.facts
        return described

    def finish(self, cluster: str | None, worker_timeout: float, progress: bool) -> None:
        """Make every record that is not there yet."""
        pending = [shard for shard in self.shards if not self._is_done(shard)]
        images = self.shards[-1].stop
        done = images - sum(shard.stop - shard.start for shard in pending)
        name = self.job.dataset.name
        with tqdm(total=images, initial=done, desc=name, unit="image", disable=not progress) as bar:
            if cluster is None:
                records = self._run_locally(pending, bar)
            else:
                records = self._run_on_cluster(cluster, worker_timeout, pending, bar)
            try:
                for shard, record in records:
                    self.store.put(shard, record)
                    done += shard.stop - shard.start
            except KeyboardInterrupt as stop:
                stop.args = (self._left(done, images),)
                raise

    def _left(self, done: int, images: int) -> str:
        """What an interruption leaves, for the person who caused it."""
        if self.store.folder is None:
            return "nothing was written, because the run had no output folder (--out)"
        return f"{done} of {images} images are safe in '{self.store.folder}'; the same command resumes there"

    def _is_done(self, shard: Shard) -> bool:
        record = self.store.usable(shard)
        if record is None or (record.skipped and not self.skip_bad):
            return False
        if self.scores is None:
            return True
        saved = [index for index in range(*shard) if scores_path(self.scores, index).is_file()]
        return len(saved) >= len(record.ids)

    def _run_locally(self, pending: list[Shard], bar: "tqdm[Any]") -> Iterator[tuple[Shard, Record]]:
        pipeline = Pipeline(
            self.job,
            self.backbone,
            skip_bad=self.skip_bad,
            scores_folder=self.scores,
            stopwatch=self.stopwatch,
            companion=self.companion,
        )
        yield from pipeline.run(pending, bar.update)

    def _run_on_cluster(
        self, cluster: str, worker_timeout: float, pending: list[Shard], bar: "tqdm[Any]"
    ) -> Iterator[tuple[Shard, Record]]:
        from ovss.evaluation.cluster import ModelSource, run_on_cluster

        source = ModelSource.of(self.backbone, self.device, self.companion)
        records = run_on_cluster(
            cluster,
            self.job,
            source,
            pending,
            key=self.store.key,
            skip_bad=self.skip_bad,
            worker_timeout=worker_timeout,
            note=partial(bar.write, file=sys.stderr),
        )
        for shard, record in records:
            yield shard, record
            bar.update(shard.stop - shard.start)
