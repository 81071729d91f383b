"""The same evaluation on many processes or machines, through a Dask scheduler.

Shards are tasks; each worker holds one model.

A worker that dies costs the shard it was at; the scheduler gives that shard to another one. Records come back to the
process that called `evaluate`, which alone writes them, so workers need no common folder for results (but each must
find the data set and the weights under the same paths).
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ovss.backbone import Backbone, Companion, load_backbone, load_companion
from ovss.errors import InputError
from ovss.evaluation.job import Job
from ovss.evaluation.pipeline import Pipeline
from ovss.evaluation.records import Record, Shard
from ovss.provenance.sources import is_ours

try:
    import cloudpickle
    import distributed
    from distributed.diagnostics.plugin import WorkerPlugin as _Plugin
except ModuleNotFoundError as missing:
    raise InputError(
        f"evaluation on a cluster needs Dask ({missing.name} is not installed): pip install 'ovss[cluster]'"
    ) from missing

__all__ = ["Evaluator", "ModelSource", "run_on_cluster", "worker_count"]


CONNECT_SECONDS = 30
_WORKER_SECONDS = 3600
_NOTE_SECONDS = 15
_CLIENT = "distributed.client"


@dataclass(frozen=True)
class ModelSource:
    """How a worker gets the model, and the second network where there is one.

    Attributes:
        arguments: Of `load_backbone`, without the two that follow; files as absolute paths.
        device: "cpu", "cuda" or "mps".
        dtype: Number format.
        weights_hash: What the weights must turn out to be.
        second: Name and weights of the second network, as `load_companion` takes them.
        second_hash: What its weights must turn out to be.
    """

    arguments: Mapping[str, Any]
    device: str
    dtype: str
    weights_hash: str
    second: tuple[str, str] | None = None
    second_hash: str = ""

    @classmethod
    def of(cls, backbone: Backbone, device: str | None = None, companion: Companion | None = None) -> "ModelSource":
        """The source of a loaded model.

        Args:
            backbone: From `load_backbone`.
            device: Kind of device of the workers; None: as the backbone's.
            companion: Second network, from `load_companion`.

        Raises:
            InputError: One of them was made otherwise, so nobody else can load it.
        """
        if backbone.origin is None:
            raise InputError("workers load the model themselves; on a cluster it must come from load_backbone")
        arguments = {**backbone.origin, "pretrained": _absolute(backbone.origin["pretrained"])}
        dtype = str(backbone.dtype).removeprefix("torch.")
        source = cls(arguments, device or backbone.device.type, dtype, backbone.weights_hash)
        if companion is None:
            return source
        if companion.origin is None:
            raise InputError("workers load the companion themselves; on a cluster it must come from load_companion")
        name, weights = companion.origin
        return replace(source, second=(name, _absolute(weights) or weights), second_hash=companion.weights_hash)

    def load(self, worker: int = 0) -> tuple[Backbone, Companion | None]:
        """Load the model, and the second network where there is one, in a worker.

        Args:
            worker: Number of the worker on its machine; chooses among several GPUs.

        Raises:
            InputError: Other weights than the caller has, or no such device.
        """
        device = self.device
        if device == "cuda" and torch.cuda.device_count() > 1:
            device = f"cuda:{worker % torch.cuda.device_count()}"
        backbone = load_backbone(**self.arguments, device=device, dtype=self.dtype)
        companion = None if self.second is None else load_companion(*self.second, device=backbone.device)
        for found, expected in ((backbone, self.weights_hash), (companion, self.second_hash)):
            if found is not None and found.weights_hash != expected:
                raise InputError(
                    f"a worker finds other weights for {found!r} ({found.weights_hash[:12]}) than the "
                    f"caller ({expected[:12]})"
                )
        return backbone, companion


class Evaluator(_Plugin):
    """Lives in each worker, restarted ones included, and keeps the model between shards.

    Args:
        name: Under which the worker knows it.
        job: What to evaluate.
        source: How to load the model.
        skip_bad: See `ovss.evaluate`.
        threads: Threads for torch; None leaves the worker's own setting.
    """

    def __init__(self, name: str, job: Job, source: ModelSource, skip_bad: bool, threads: int | None) -> None:
        self.name = name
        self.job = job
        self.source = source
        self.skip_bad = skip_bad
        self.threads = threads

    def __getstate__(self) -> dict[str, Any]:
        """Methods of one's own travel as code: workers need not have the file or the notebook they stand in."""
        for method in self.job.methods.values():
            module = type(method).__module__
            if not is_ours(module) and module != "__main__":
                cloudpickle.register_pickle_by_value(sys.modules[module])
        return vars(self) | {"job": cloudpickle.dumps(self.job)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, job=cloudpickle.loads(state["job"]))

    def setup(self, worker: Any) -> None:
        """Called by Dask when the worker gets this plugin."""
        # Made here because neither a lock nor a model travels well; the lock keeps a worker with several threads from
        # running the model twice at a time.
        self.number = worker.name if isinstance(worker.name, int) else 0
        self.lock = threading.Lock()
        self.pipeline: Pipeline | None = None

    def record(self, shard: Shard) -> Record:
        """The record of a shard, made with the worker's own model."""
        with self.lock:
            if self.pipeline is None:
                if self.threads is not None:
                    torch.set_num_threads(self.threads)
                backbone, companion = self.source.load(self.number)
                self.pipeline = Pipeline(self.job, backbone, skip_bad=self.skip_bad, companion=companion)
            return next(record for _, record in self.pipeline.run([shard]))


def run_on_cluster(
    where: str,
    job: Job,
    source: ModelSource,
    shards: Sequence[Shard],
    *,
    key: str,
    skip_bad: bool,
    worker_timeout: float = _WORKER_SECONDS,
    note: Callable[[str], object] = lambda line: None,
) -> Iterator[tuple[Shard, Record]]:
    """Evaluate shards on the workers of a cluster.

    Args:
        where: "local:N" starts N worker processes on this machine for the time of the call (a script that does so needs
            the usual `if __name__ == "__main__":`); an address such as "tcp://host:8786" uses a scheduler that runs.
        job: What to evaluate.
        source: How workers get the model.
        shards: Which images.
        key: Identity of the run.
        skip_bad: See `ovss.evaluate`.
        worker_timeout: Seconds to wait for a worker whenever the scheduler has none (a queue may take long).
        note: Called with one line now and then while there is no worker.

    Yields:
        Each shard with its record, in the order in which they are finished.

    Raises:
        InputError: No such cluster, no worker in time, an error in an image or mask, a shard that its workers do not
            survive, or a scheduler that goes away.
    """
    if not shards:
        return
    name = f"ovss-{key[:16]}"
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        client, threads = _connect(where, stack)
        stack.enter_context(_loss_named(client, where))
        wait = _Patience(client, where, worker_timeout, note)
        wait.for_worker()
        client.register_plugin(Evaluator(name, job, source, skip_bad, threads))
        stack.callback(_while_connected, client, client.unregister_worker_plugin, name)
        futures = {client.submit(_record, name, shard, pure=False): shard for shard in shards}
        stack.callback(_while_connected, client, client.cancel, list(futures), force=True)
        while futures:
            for future in wait.for_results(list(futures)):
                shard = futures.pop(future)
                try:
                    record = future.result()
                except distributed.KilledWorker as error:
                    raise InputError(
                        f"images {shard.start} to {shard.stop - 1} ended every worker that tried them (out of "
                        "memory?); try a smaller --batch-size, or fewer workers per machine"
                    ) from error
                yield shard, record


@dataclass(frozen=True)
class _Patience:
    """Waits for workers, which a queue may start late and end early, and says so."""

    client: Any
    where: str
    seconds: float
    note: Callable[[str], object]

    def for_worker(self) -> None:
        start = time.monotonic()
        while not self.client.scheduler_info()["workers"]:
            waited = time.monotonic() - start
            if waited >= self.seconds:
                raise InputError(
                    f"no worker joined the Dask scheduler at '{self.where}' within {self.seconds:.0f} s; look at the "
                    "queue for the workers' jobs, or wait longer with --worker-timeout"
                )
            try:
                self.client.wait_for_workers(1, timeout=max(0.1, min(_NOTE_SECONDS, self.seconds - waited)))
            except TimeoutError:
                waited = time.monotonic() - start
                self.note(
                    f"waiting for a worker to join the scheduler at {self.where} "
                    f"({waited:.0f} s of at most {self.seconds:.0f} s)"
                )

    def for_results(self, futures: list[Any]) -> set[Any]:
        while True:
            try:
                finished: Any = distributed.wait(futures, timeout=_NOTE_SECONDS, return_when="FIRST_COMPLETED")
                return finished.done
            except TimeoutError:
                self.for_worker()


def worker_count(where: str) -> int | None:
    """Number of processes that "local:N" asks for; None for a scheduler's address.

    Raises:
        InputError: It is neither.
    """
    kind, _, count = where.partition(":")
    if kind == "local" and count.isdigit() and int(count) > 0:
        return int(count)
    if kind == "local" or "://" not in where:
        raise InputError(f"cluster '{where}' must be local:N, as in local:4, or an address such as tcp://host:8786")
    return None


def _record(name: str, shard: Shard) -> Record:
    worker: Any = distributed.get_worker()
    return worker.plugins[name].record(Shard(*shard))


def _connect(where: str, stack: ExitStack) -> tuple[Any, int | None]:
    workers = worker_count(where)
    if workers is not None:
        # No limit of memory: Dask would pause workers that hold a large model. No dashboard: nothing listens outside.
        options: dict[str, Any] = {"dashboard_address": None, "memory_limit": 0}
        cluster = stack.enter_context(
            distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **options)
        )
        threads = max(1, (os.cpu_count() or 1) // workers)
        return stack.enter_context(distributed.Client(cluster)), threads
    try:
        client = stack.enter_context(distributed.Client(where, timeout=CONNECT_SECONDS))
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at '{where}' ({error or type(error).__name__})") from error
    return client, None


@contextmanager
def _loss_named(client: Any, where: str) -> Iterator[None]:
    """A scheduler that goes away ends the run in one line."""
    try:
        yield
    except (CancelledError, OSError, RuntimeError) as error:
        if client.status == "running":
            raise
        logging.getLogger(_CLIENT).setLevel(logging.CRITICAL)  # what it tries in vain until it is closed
        raise InputError(
            f"the Dask scheduler at '{where}' went away; what was finished before is safe, and the same command "
            "resumes there when a scheduler runs"
        ) from error


def _while_connected(client: Any, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
    """Tell the scheduler something, if it is still there to hear it."""
    if client.status == "running":
        call(*arguments, **options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's notes on every connection kept off the screen; its warnings stay."""
    loggers = [logging.getLogger(name) for name in ("distributed", _CLIENT)]
    levels = [logger.level for logger in loggers]
    loggers[0].setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _absolute(pretrained: str | None) -> str | None:
    """File names so that they mean the same in a worker's folder."""
    if pretrained is None:
        return None
    tag, equals, path = pretrained.partition("=")
    if equals and Path(path).is_file():
        return f"{tag}={Path(path).resolve()}"
    return str(Path(pretrained).resolve()) if Path(pretrained).is_file() else pretrained
