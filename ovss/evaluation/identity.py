"""What a run is known by: its key, which covers all that can move a count, and the facts that its rows carry."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ovss.backbone import Backbone, Companion
from ovss.errors import InputError
from ovss.evaluation.extras import EXTRAS
from ovss.evaluation.job import Job
from ovss.evaluation.records import Store, make_shards
from ovss.files import digest
from ovss.provenance import code_hash, library_versions
from ovss.vocabulary import embed_vocabulary, tensor_digest

__all__ = ["run_key"]

MAKERS = ("ovss.evaluation.pipeline", "ovss.evaluation.cluster")
"""Modules that make counts, here or on workers; with all that they import they are the code of a run's key."""


def run_key(
    job: Job,
    backbone: Backbone,
    device: str,
    outside: Mapping[str, str],
    companion: Companion | None = None,
    *,
    progress: bool = False,
) -> str:
    """Identity of a run: SHA-256 over all that can move a count.

    Args:
        job: What to compute.
        backbone: The model; embeds the vocabulary where it is on the device that computes.
        device: Kind of device that computes.
        outside: Digests of methods from outside this package, by label.
        companion: Second network, where there is one.
        progress: Whether to show a progress bar while words are embedded.
    """
    text = None
    if device == backbone.device.type:
        text = tensor_digest(embed_vocabulary(backbone, job.scored, progress=progress))
    also: dict[str, Any] = {}
    if companion is not None:
        also["companion"] = [companion.weights_hash, companion.mean, companion.std]
    if job.protocol.resize_filter == "model":
        also["resize_filter"] = job.protocol.geometry(backbone).resize_filter
    if job.extras:
        also["extras"] = list(job.extras)
    return digest(identity(job, backbone, device, text) | {"outside": dict(outside)} | also)


def richest(job: Job, folder: Path | None, images: int, key_of: Callable[[Job], str]) -> tuple[Job, str]:
    """The job as it was finished in a folder, with all that is asked for and perhaps more extras; else as it is.

    Args:
        job: What to compute.
        folder: Output folder of the run; None: in memory.
        images: Number of images.
        key_of: Identity of a run of a job.

    Returns:
        The job and its key.
    """
    key = key_of(job)
    if folder is None or _finished(folder, key, images, job.shard_size):
        return job, key
    others = {entry.name for entry in (folder / "records").iterdir() if entry.is_dir()} - {key[:16]}
    missing = [name for name in EXTRAS if name not in job.extras]
    for count in range(1, len(missing) + 1 if others else 1):
        for more in combinations(missing, count):
            fuller = replace(job, extras=tuple(name for name in EXTRAS if name in (*job.extras, *more)))
            other = key_of(fuller)
            if other[:16] in others and _finished(folder, other, images, job.shard_size):
                return fuller, other
    return job, key


def _finished(folder: Path, key: str, images: int, shard_size: int) -> bool:
    records = Store.open(key, folder)
    try:
        return all(records.get(shard) is not None for shard in make_shards(images, shard_size))
    except InputError:
        return False  # damaged


def identity(job: Job, backbone: Backbone, device: str, text: str | None) -> dict[str, Any]:
    """All that can move a count; runs that differ in any of it share no record.

    Args:
        job: What to compute.
        backbone: The model.
        device: Kind of device that computes.
        text: Checksum of the text embeddings; None where they are made by workers on another kind of device.
    """
    return {
        "methods": {label: [method.name, method.parameters] for label, method in job.methods.items()},
        "weights": [backbone.name, backbone.weights_hash, backbone.mean, backbone.std],
        "scored": job.scored.hash,
        "text": text,
        "vocabulary": job.vocabulary.hash,
        "protocol": job.protocol.hash,
        "dataset": [job.dataset.name, job.dataset.split, job.dataset.fingerprint],
        "arithmetic": [device, str(backbone.dtype), job.batch_size, job.shard_size],
        "code": code_hash(*MAKERS),
        "libraries": library_versions(),
    }


def facts_of(job: Job, backbone: Backbone, device: str, key: str) -> dict[str, Any]:
    """What every row says of its origin; see `Evaluation.summary`.

    Args:
        job: What was computed.
        backbone: The model.
        device: Kind of device that computed.
        key: Identity of the run.
    """
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
        "resize_filter": job.protocol.geometry(backbone).resize_filter,
        "device": device,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "batch_size": job.batch_size,
        "code_hash": code_hash(*MAKERS),
        **library_versions(),
        "key": key,
    }
