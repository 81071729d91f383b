"""Training of `tiny`: contrastive learning on crops of `scenes`, from nothing, on one or two CPU cores."""

from __future__ import annotations

import csv
import io
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ovss import tiny
from ovss.errors import InputError, Terminated
from ovss.files import atomic_write, cache_dir, file_digest
from ovss.training.data import Pool
from ovss.training.recipe import SHARDS, Recipe
from ovss.training.trainer import CHECKPOINT, Trainer

__all__ = ["load_recipe", "run_training"]

_STOPS = (signal.SIGINT, signal.SIGTERM)

WEIGHTS, CURVE, RECORD = tiny.WEIGHTS.name, tiny.CURVE.name, tiny.RECORD.name

Report = Callable[[str], None]


def run_training(
    recipe: Recipe,
    folder: Path,
    *,
    threads: int = 2,
    resume: bool = False,
    start: Path | None = None,
    report: Report | None = None,
) -> bool:
    """Train, or resume training, until the recipe is done or the process is interrupted (SIGINT, SIGTERM).

    Writes `checkpoint.pt` (at every evaluation, when interrupted, at the end), `training_curve.csv` and, when the run
    is done, `tiny.safetensors` and `tiny.json`.

    Args:
        recipe: What to do.
        folder: Where to write; created if missing.
        threads: Single-threaded processes to use, 1 or 2; the weights do not depend on it.
        resume: Resume from the checkpoint in `folder`; its recipe must be `recipe`, up to the number of views.
        start: Weights of a finished run to start from, for a recipe whose `start` is their hash or open; its record
            `tiny.json` beside them becomes part of the record. None: random weights.
        report: Called with a line of progress now and then.

    Returns:
        True when the recipe is done, False when the run was interrupted and can be resumed.

    Raises:
        InputError: `threads` out of range, a checkpoint that is missing, unwanted or of another recipe, weights to
            start from that are missing or others than the recipe's.
        Terminated: SIGTERM ended the run, which can be resumed.
    """
    if not 1 <= threads <= SHARDS:
        raise InputError(f"threads {threads} must be between 1 and {SHARDS}")
    recipe = _started(recipe, start)
    folder.mkdir(parents=True, exist_ok=True)
    _check_folder(recipe, folder, resume)
    own_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as meeting, _helpers(threads, recipe, folder, meeting, start):
            return _train(0, threads, recipe, folder, f"{meeting}/group", start, report or (lambda line: None))
    finally:
        torch.set_num_threads(own_threads)


def _started(recipe: Recipe, start: Path | None) -> Recipe:
    if start is None:
        if recipe.start is not None:
            raise InputError(f"the recipe starts from weights {recipe.start[:12]}; their file is not given")
        return recipe
    if not start.exists():
        raise InputError(f"'{start}' does not exist; there are no weights to start from")
    found = file_digest(start)
    if recipe.start not in (None, found):
        raise InputError(f"'{start}' has the hash {found[:12]}, but the recipe starts from {str(recipe.start)[:12]}")
    return replace(recipe, start=found)


def _check_folder(recipe: Recipe, folder: Path, resume: bool) -> None:
    path = folder / CHECKPOINT
    if resume and not path.exists():
        raise InputError(f"'{path}' does not exist; there is no training run to resume")
    if not resume and path.exists():
        raise InputError(f"'{path}' holds a training run; resume it or choose another folder")
    if resume:
        saved = load_recipe(folder)
        if replace(saved, views=recipe.views) != recipe:
            raise InputError(f"'{path}' was trained by another recipe; only the number of views may change")


def load_recipe(folder: Path) -> Recipe:
    """The recipe of the training run in a folder."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise InputError(f"'{path}' does not exist; there is no training run to resume")
    return Recipe.from_dict(torch.load(path, weights_only=True)["recipe"])


@contextmanager
def _helpers(threads: int, recipe: Recipe, folder: Path, meeting: str, start: Path | None) -> Iterator[None]:
    """The other processes of a run; they end with it, also when it fails."""
    context = mp.get_context("spawn")
    arguments = (threads, recipe, folder, f"{meeting}/group", start)
    processes = [context.Process(target=_help, args=(rank, *arguments), daemon=True) for rank in range(1, threads)]
    for process in processes:
        process.start()
    try:
        yield
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()


def _help(rank: int, world: int, recipe: Recipe, folder: Path, meeting: str, start: Path | None) -> None:
    # A signal may reach every process of a run; only the first one decides after which step all of them stop.
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    _train(rank, world, recipe, folder, meeting, start, lambda line: None)


def _train(
    rank: int, world: int, recipe: Recipe, folder: Path, meeting: str, start: Path | None, report: Report
) -> bool:
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        pool = _render(rank, world, recipe, report)
        trainer = Trainer(recipe, pool, rank, world, start)
        rows: list[dict[str, float]] = []
        if (folder / CHECKPOINT).exists():
            rows = trainer.load(torch.load(folder / CHECKPOINT, weights_only=True))
        if world > 1:
            dist.barrier()
        done = _loop(trainer, rows, folder, report)
        if done and rank == 0:
            _finish(trainer, rows, folder, start, report)
        return done
    finally:
        if world > 1:
            dist.destroy_process_group()


def _render(rank: int, world: int, recipe: Recipe, report: Report) -> Pool:
    pool = Pool(cache_dir(), recipe.pool)
    if not pool.complete:
        report(f"rendering {recipe.pool} scenes into {pool.folder}")
        pool.render(rank, world)
        if world > 1:
            dist.barrier()
        if rank == 0:
            pool.finish()
    pool.load()
    return pool


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """The signals, SIGINT or SIGTERM, that came in instead of ending the program (in its main thread)."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, lambda signum, frame: asked.append(signum)) for number in _STOPS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(trainer: Trainer, rows: list[dict[str, float]], folder: Path, report: Report) -> bool:
    """Step until the recipe is done (True) or SIGINT (False); only the first process evaluates and writes.

    Raises:
        Terminated: SIGTERM came; the checkpoint is written.
    """
    recipe, first = trainer.recipe, trainer.rank == 0
    started, before = time.monotonic(), trainer.seconds
    resumed_views = trainer.views
    loss = accuracy = float("nan")
    with _interruptible() as asked:
        while not trainer.finished:
            result = trainer.train_step(stop=first and bool(asked))
            trainer.seconds = before + time.monotonic() - started
            new = loss != loss
            loss = result.loss if new else 0.97 * loss + 0.03 * result.loss
            accuracy = result.accuracy if new else 0.97 * accuracy + 0.03 * result.accuracy
            if first and (trainer.step % 25 == 0 or trainer.finished):
                rate = (trainer.views - resumed_views) / (time.monotonic() - started)
                left = (recipe.steps - trainer.step) * recipe.step_views / rate / 60
                report(
                    f"step {trainer.step}/{recipe.steps}  views {trainer.views}  loss {loss:.3f}  "
                    f"accuracy {accuracy:.3f}  {rate:.0f} views/s  {left:.0f} min left"
                )
            due = trainer.views // recipe.evaluate_every > (trainer.views - recipe.step_views) // recipe.evaluate_every
            if first and (due or trainer.finished):
                rows.append(_evaluate(trainer, loss, accuracy))
                report("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()))
                trainer.save(folder / CHECKPOINT, rows)
                _write_curve(rows, folder / CURVE)
            if result.stop and not trainer.finished:
                if first:
                    trainer.save(folder / CHECKPOINT, rows)
                    left = f"step {trainer.step} of {recipe.steps} is safe in '{folder}'; --resume continues there"
                    if signal.SIGTERM in asked:
                        raise Terminated(left)
                    report(f"interrupted; {left}")
                return False
    return True


def _evaluate(trainer: Trainer, loss: float, accuracy: float) -> dict[str, float]:
    from ovss.training.quality import curve_point

    row = {"step": trainer.step, "views": trainer.views, "seconds": round(trainer.seconds, 1)}
    row |= {"loss": round(loss, 4), "accuracy": round(accuracy, 4)}
    return row | curve_point(trainer.trainee.backbone(), trainer.recipe.evaluate_scenes)


def _write_curve(rows: list[dict[str, float]], path: Path) -> None:
    """Write the training curve as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path, "w") as file:
        file.write(text.getvalue())


def _finish(trainer: Trainer, rows: list[dict[str, float]], folder: Path, start: Path | None, report: Report) -> None:
    from ovss.training.record import write_record

    recipe = trainer.recipe
    metadata = {"architecture": "ovss-tiny", "seed": str(recipe.seed), "views": str(trainer.views)}
    trainer.trainee.export(folder / WEIGHTS, metadata)
    write_record(trainer, rows, folder / WEIGHTS, folder / RECORD, start and start.with_name(RECORD))
    report(f"weights, record and curve are in {folder}")
