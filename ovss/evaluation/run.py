"""One run: backbone x methods x data set x protocol, resumable, on one machine or a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ovss.backbone import Backbone
from ovss.datasets import Dataset, load_dataset
from ovss.errors import InputError
from ovss.evaluation.older import refuse_older_sclip
from ovss.evaluation.pipeline import Job, Pipeline, Stopwatch
from ovss.evaluation.records import Record, Shard, Store, make_folder, make_shards
from ovss.evaluation.relabel import describe
from ovss.evaluation.results import RUN_FILE, Evaluation
from ovss.evaluation.same_data import refuse_other_data
from ovss.evaluation.scores import FORMATS, scores_path
from ovss.files import digest, only_run, sweep
from ovss.methods import Method, resolve_methods
from ovss.methods.tuned import under_protocol
from ovss.protocols import Protocol
from ovss.provenance import code_hash, library_versions
from ovss.provenance.outside_code import outside_code
from ovss.segment import resolve_protocol
from ovss.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary, tensor_digest

__all__ = ["Evaluation", "evaluate"]

BATCH_SIZES = {"cuda": 64}
BATCH_SIZE = 16
SHARD_SIZE = 32
MAKERS = (Pipeline.__module__, "ovss.evaluation.cluster")
"""Modules that make counts, here or on workers; with all that they import they are the code of a run's key."""


def evaluate(
    backbone: Backbone,
    methods: str | Method | Sequence[str | Method] | Mapping[str, str | Method],
    dataset: str | Dataset,
    *,
    protocol: str | Protocol | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    cluster: str | None = None,
    worker_device: str | None = None,
    vocabulary: Vocabulary | None = None,
    skip_bad: bool = False,
    keep_scores: str | None = None,
    keep_variants: Sequence[str] = (),
    batch_size: int | None = None,
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Measure methods on a data set, all of them on one backbone pass.

    Args:
        backbone: A model from `load_backbone`.
        methods: A name, a `Method`, several of them, a dictionary label -> method, or "all".
        dataset: A data set from `load_dataset`, or its name.
        protocol: Name, file or `Protocol`; its overrides for the data set are applied here. None is "window224", or
            "study" for the embedded model.
        out: Folder for records and tables. A run that was interrupted goes on there; what was made with another model,
            protocol, vocabulary, data set or code (of a method of one's own, too) is not used, a damaged record is made
            again, and what was made under an older protocol of this name, or on files of this data set that changed
            since, is refused. One run at a time may write there. None keeps everything in memory.
        limit: Number of images, from the first one; None takes all.
        cluster: "local:N" for N worker processes, or the address of a Dask scheduler; None runs here.
        worker_device: On a cluster, "cpu" or "cuda" where that is not the kind of device the backbone is on.
        vocabulary: Other words than the data set's own under the protocol; classes must agree in number.
        skip_bad: Leave out images and masks that cannot be read; every row says how many.
        keep_scores: "float32" or "float16" to keep scores beside the records for `ovss rescore`; needs `out`.
        keep_variants: Other vocabulary variants of the data set whose scores are to be kept, too.
        batch_size: Windows per backbone pass; None is 64 on CUDA, else 16.
        shard_size: Images per record; what an interruption costs at most.
        seed: Of the intervals.
        progress: Whether to show a progress bar.

    Returns:
        The results; with `out` they are also there as files.

    Raises:
        InputError: Unknown names, an image or mask that cannot be read, a folder that cannot be written or that another
            run uses, a method, protocol and model that do not go together, scores that are not finite; with `out`, a
            method of one's own whose source cannot be had.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be a number from 0 to 2**63 - 1, not {seed}")
    if worker_device is not None and cluster is None:
        raise InputError(f"worker_device='{worker_device}' goes with a cluster; the backbone says where this run works")
    data = load_dataset(dataset) if isinstance(dataset, str) else dataset
    images = _image_count(data, limit)
    rules = resolve_protocol(protocol, backbone).for_dataset(data.benchmark, backbone.name)
    rules.geometry(backbone)
    chosen = {label: under_protocol(method, rules) for label, method in resolve_methods(methods).items()}
    words = _words(data, rules, vocabulary)
    _check_keeping(keep_scores, out, cluster, chosen)
    if out is not None:
        refuse_older_sclip(Path(out), rules)
    if out is not None and data.reading:
        facts = {
            "dataset": data.name,
            "split": data.split,
            "reading": data.reading,
            "dataset_fingerprint": data.fingerprint,
            "model": backbone.name,
            "protocol": rules.name,
        }
        refuse_other_data(Path(out), RUN_FILE, facts)
    device = worker_device or backbone.device.type
    if cluster is not None:
        _check_cluster(cluster, backbone, device)
    job = Job(
        methods=chosen,
        vocabulary=words,
        protocol=rules,
        dataset=data,
        batch_size=batch_size or BATCH_SIZES.get(device, BATCH_SIZE),
        shard_size=shard_size,
        extra_queries=_extra_queries(data, words, keep_variants) if keep_scores else (),
        save_format=keep_scores,
    )
    outside = outside_code(chosen, needed=out is not None)
    folder = None if out is None else Path(out)
    if folder is not None:
        make_folder(folder / "records")
    with nullcontext() if folder is None else only_run(folder, folder / "records" / ".lock"):
        return _evaluate(job, outside, backbone, device, folder, images, cluster, skip_bad, seed, progress)


def _evaluate(
    job: Job,
    outside: Mapping[str, str],
    backbone: Backbone,
    device: str,
    folder: Path | None,
    images: int,
    cluster: str | None,
    skip_bad: bool,
    seed: int,
    progress: bool,
) -> Evaluation:
    text = None
    if device == backbone.device.type:
        text = tensor_digest(embed_vocabulary(backbone, job.scored, progress=progress))
    key = digest(_identity(job, backbone, device, text) | {"outside": dict(outside)})
    store = Store(key, folder, job.dataset.ids)
    shards = make_shards(images, job.shard_size)
    scores = None if folder is None or job.save_format is None else folder / "scores" / key[:16]
    if scores is not None:
        make_folder(scores)
        describe(scores, job, backbone)
    for place in (store.folder, scores):
        if place is not None:
            sweep(place)
    run = _Run(job, backbone, device, store, shards, skip_bad, scores)
    run.finish(cluster, progress)
    evaluation = Evaluation(
        store,
        shards,
        classes=job.vocabulary.classes,
        methods={label: {"method_name": m.name, "parameters": m.parameters} for label, m in job.methods.items()},
        rule=job.protocol.metric,
        facts=_facts(job, backbone, device, key) | {"seed": seed},
        seconds=run.stopwatch.seconds,
    )
    if folder is not None:
        evaluation.save(folder)
    return evaluation


@dataclass
class _Run:
    """The part of `evaluate` that takes time."""

    job: Job
    backbone: Backbone
    device: str
    store: Store
    shards: list[Shard]
    skip_bad: bool
    scores: Path | None

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch()

    def finish(self, cluster: str | None, progress: bool) -> None:
        """Make every record that is not there yet."""
        pending = [shard for shard in self.shards if not self._is_done(shard)]
        images = self.shards[-1].stop
        done = images - sum(shard.stop - shard.start for shard in pending)
        name = self.job.dataset.name
        with tqdm(total=images, initial=done, desc=name, unit="image", disable=not progress) as bar:
            records = (
                self._run_locally(pending, bar) if cluster is None else self._run_on_cluster(cluster, pending, bar)
            )
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
            return "nothing was written, for the run had no output folder (--out)"
        return f"{done} of {images} images are safe in '{self.store.folder}'; the same command goes on from there"

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
            self.job, self.backbone, skip_bad=self.skip_bad, scores_folder=self.scores, stopwatch=self.stopwatch
        )
        yield from pipeline.run(pending, bar.update)

    def _run_on_cluster(self, cluster: str, pending: list[Shard], bar: "tqdm[Any]") -> Iterator[tuple[Shard, Record]]:
        from ovss.evaluation.cluster import ModelSource, run_on_cluster

        source = ModelSource.of(self.backbone, self.device)
        records = run_on_cluster(cluster, self.job, source, pending, key=self.store.key, skip_bad=self.skip_bad)
        for shard, record in records:
            yield shard, record
            bar.update(shard.stop - shard.start)


def _image_count(data: Dataset, limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1 image, not {limit}")
    images = len(data) if limit is None else min(limit, len(data))
    if not images:
        raise InputError(f"data set '{data.name}' has no images")
    for name in data.ids:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(f"image '{name}' of data set '{data.name}' has a name that is not UTF-8; rename the file")
    return images


def _words(data: Dataset, protocol: Protocol, vocabulary: Vocabulary | None) -> Vocabulary:
    words = protocol.vocabulary(vocabulary or data.vocabulary_name)
    if len(words.classes) != len(data.classes):
        raise InputError(
            f"vocabulary '{words.name}' has {len(words.classes)} classes and data set '{data.name}' "
            f"{len(data.classes)}; they must be the same classes in the same order"
        )
    return words


def _extra_queries(data: Dataset, words: Vocabulary, variants: Sequence[str]) -> tuple[str, ...]:
    wanted = [query for variant in variants for query in load_vocabulary(data.vocabulary_name, variant).queries]
    return tuple(query for query in dict.fromkeys(wanted) if query not in words.queries)


def _check_cluster(cluster: str, backbone: Backbone, device: str) -> None:
    """Find out before any work whether workers can be had and can load the model."""
    from ovss.evaluation.cluster import ModelSource, worker_count

    worker_count(cluster)
    ModelSource.of(backbone, device)


def _check_keeping(
    keep_scores: str | None, out: str | Path | None, cluster: str | None, methods: Mapping[str, Method]
) -> None:
    if keep_scores is None:
        return
    if keep_scores not in FORMATS:
        raise InputError(f"keep_scores='{keep_scores}' is unknown; it is one of {', '.join(FORMATS)}")
    if out is None:
        raise InputError("scores can only be kept in a folder; give out as well")
    if cluster is not None:
        raise InputError("scores are kept on one machine only; leave out cluster or keep_scores")
    for label, method in methods.items():
        if method.refines:
            raise InputError(f"scores of '{label}' are made per pixel and cannot be kept compactly; leave it out")


def _identity(job: Job, backbone: Backbone, device: str, text: str | None) -> dict[str, Any]:
    """All that can move a count; runs that differ in any of it share no record.

    `text` is the checksum of the text embeddings, None where they are made by workers on another kind of device.
    """
    return {
        "methods": {label: [method.name, method.parameters] for label, method in job.methods.items()},
        "weights": [backbone.name, backbone.weights_hash, backbone.mean, backbone.std],
        "vocabulary": job.scored.hash,
        "text": text,
        "judged": job.vocabulary.hash,
        "protocol": job.protocol.hash,
        "dataset": [job.dataset.name, job.dataset.split, job.dataset.fingerprint],
        "arithmetic": [device, str(backbone.dtype), job.batch_size, job.shard_size],
        "code": code_hash(*MAKERS),
        "libraries": library_versions(),
    }


def _facts(job: Job, backbone: Backbone, device: str, key: str) -> dict[str, Any]:
    """What every row says of its origin; see `Evaluation.summary`."""
    return {
        "model": backbone.name,
        "pretrained": backbone.pretrained,
        "weights_hash": backbone.weights_hash,
        "dataset": job.dataset.name,
        "split": job.dataset.split,
        "dataset_fingerprint": job.dataset.fingerprint,
        "reading": job.dataset.reading,
        "vocabulary": job.vocabulary.name,
        "variant": job.vocabulary.variant,
        "vocabulary_hash": job.vocabulary.hash,
        "protocol": job.protocol.name,
        "protocol_hash": job.protocol.hash,
        "device": device,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "batch_size": job.batch_size,
        "code_hash": code_hash(*MAKERS),
        **library_versions(),
        "key": key,
    }
