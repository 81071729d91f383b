"""What a run is known by: its key, which covers all that can move a count, and the facts that its rows carry."""

from collections.abc import Mapping
from typing import Any

from ovss.backbone import Backbone, Companion
from ovss.evaluation.job import Job
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
    also = {} if companion is None else {"companion": [companion.weights_hash, companion.mean, companion.std]}
    return digest(identity(job, backbone, device, text) | {"outside": dict(outside)} | also)


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
        "device": device,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "batch_size": job.batch_size,
        "code_hash": code_hash(*MAKERS),
        **library_versions(),
        "key": key,
    }
