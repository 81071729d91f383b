"""Which tasks have finished, and running the others: several at a time, each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from ovss.files import atomic_write, file_digest, read_sealed_json
from ovss.study.execute import FAILURE, SENTINEL
from ovss.study.places import STATE
from ovss.study.plan import Task
from ovss.study.progress import BLOCKED, CURRENT, DONE, FAILED, RUNNING, WAITING, Display, Status

_LOG = "log.txt"
_SECONDS_TO_END = 10
"""Time that a notebook's process gets to end its kernel before it is killed."""


@dataclass(frozen=True)
class Failure:
    """Why a task has no result.

    Attributes:
        task: Its name.
        cell: Number of the cell that failed, counted from 1; None when it was not a cell.
        source: The cell's code.
        error: Type and message of the error.
        log: Its log file.
    """

    task: str
    cell: int | None
    source: str
    error: str
    log: Path

    def describe(self) -> str:
        """A few lines that show the cell and the error."""
        where = f"cell {self.cell}" if self.cell is not None else "outside any cell"
        code = "".join(f"\n    | {line}" for line in self.source.splitlines()[:12])
        return f"{self.task}, {where}: {self.error}{code}\n    log: {self.log}"


class Batch(NamedTuple):
    """What a batch did.

    Attributes:
        statuses: Final state of each task.
        failures: Why tasks failed.
        finished: What each finished task wrote last, by id; those of earlier runs included.
    """

    statuses: list[Status]
    failures: list[Failure]
    finished: dict[str, dict[str, Any]]


def finished_tasks(out: Path, tasks: Sequence[Task]) -> dict[str, dict[str, Any]]:
    """What each finished task wrote last, by id: its outputs are there, unchanged, and made from the present inputs.

    Every output is hashed for that, so the answer is passed on and not asked for again.

    Args:
        out: Folder of the report.
        tasks: Tasks that may have finished.
    """
    read = {task.id: _read_sentinel(out / STATE / task.id, task.digest) for task in tasks}
    return {name: done for name, done in read.items() if done is not None}


def _read_sentinel(folder: Path, expected: str) -> dict[str, Any] | None:
    try:
        done = read_sealed_json(folder / SENTINEL)
    except (OSError, ValueError, RecursionError):
        return None  # None, or a damaged one: the task runs again.
    if done["digest"] != expected:
        return None
    return done if unchanged(folder, done["files"]) else None


def unchanged(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether all files are there with the checksums that they had, by relative name."""
    return all((folder / name).is_file() and file_digest(folder / name) == checksum for name, checksum in files.items())


def run_tasks(
    out: Path,
    tasks: Sequence[Task],
    finished: Mapping[str, dict[str, Any]],
    *,
    jobs: int,
    threads: int,
    display: Display,
) -> Batch:
    """Run all tasks that have not finished; a failing one stops only those that read from it.

    Args:
        out: Folder of the report.
        tasks: What to run, with all that they read from.
        finished: From `finished_tasks`: what earlier runs left and is current.
        jobs: How many notebooks run at once.
        threads: CPU threads of each.
        display: Shows what happens.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came; says what is done.
    """
    statuses = {task.id: Status(task.id, CURRENT if task.id in finished else WAITING) for task in tasks}
    batch = Batch(list(statuses.values()), [], dict(finished))
    named = {task.id: task for task in tasks}
    order = TopologicalSorter({task.id: [before.id for before in task.after] for task in tasks})
    order.prepare()
    ready: list[Task] = []
    running: dict[Future[Failure | None], _Notebook] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                ready += [named[name] for name in _ready(order, finished)]
                for task in _startable(ready, [job.task for job in running.values()], jobs):
                    ready.remove(task)
                    job = _Notebook(out, task, threads, statuses[task.id])
                    running[pool.submit(job.follow)] = job
                display.show(batch.statuses)
                if not running:
                    break
                for future in wait(running, timeout=0.1, return_when=FIRST_COMPLETED).done:
                    job, failure = running.pop(future), future.result()
                    if failure is None:
                        batch.finished[job.task.id] = job.read_sentinel()
                        order.done(job.task.id)
                    else:
                        batch.failures.append(failure)
        except KeyboardInterrupt as stop:
            done = sum(status.state in (DONE, CURRENT) for status in batch.statuses)
            stop.args = (f"{done} of {len(tasks)} notebooks are done in '{out}'; the same command resumes there",)
            raise
        finally:
            for job in running.values():
                job.stop()
    for status in batch.statuses:
        if status.state == WAITING:
            status.state = BLOCKED
    display.show(batch.statuses, final=True)
    return batch


def _ready(order: TopologicalSorter[str], finished: Mapping[str, object]) -> list[str]:
    """Tasks that are not finished, but all that they read from is; each is returned once."""
    ready: list[str] = []
    while names := order.get_ready():
        ready += [name for name in names if name not in finished]
        order.done(*(name for name in names if name in finished))
    return ready


def _startable(ready: Sequence[Task], running: Sequence[Task], jobs: int) -> Sequence[Task]:
    """What starts now; a task that measures time waits until nothing else is left, and then runs alone."""
    if any(task.exclusive for task in running):
        return []
    together = [task for task in ready if not task.exclusive]
    if together or running:
        return together[: jobs - len(running)]
    return ready[:1]


class _Notebook:
    """A notebook's process; it ends itself and its kernel when its input is closed, as it is when this one dies."""

    def __init__(self, out: Path, task: Task, threads: int, status: Status) -> None:
        self.task, self.status, self.folder = task, status, out / STATE / task.id
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        content = {"template": str(task.template.resolve()), "parameters": task.parameters, "digest": task.digest}
        self._write("task.json", content)
        status.state, status.started = RUNNING, time.monotonic()
        with open(self.folder / _LOG, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ovss.study.process"],
                cwd=self.folder,
                env=_environment(out, threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def follow(self) -> Failure | None:
        """Take note of each cell until the process has ended; success is its return code and its sentinel, both."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.process.stdin, self.process.stdout as lines:
            for line in lines:
                message = json.loads(line)
                self.status.cell, self.status.cells = message["cell"], message["cells"]
            code = self.process.wait()
        self.status.seconds = time.monotonic() - self.status.started
        self.status.state = DONE if code == 0 and (self.folder / SENTINEL).is_file() else FAILED
        state = {"state": self.status.state, "seconds": round(self.status.seconds, 1), "cell": self.status.cell}
        self._write("state.json", state)
        return None if self.status.state == DONE else self._failure(code)

    def read_sentinel(self) -> dict[str, Any]:
        """What the process wrote last, a moment ago."""
        return read_sealed_json(self.folder / SENTINEL)

    def stop(self) -> None:
        """End the process and its kernel."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _failure(self, code: int) -> Failure:
        log = self.folder / _LOG
        if not (self.folder / FAILURE).is_file():
            return Failure(self.task.id, self.status.cell or None, "", f"the process ended with code {code}", log)
        failure = json.loads((self.folder / FAILURE).read_text(encoding="utf-8"))
        with open(log, "a", encoding="utf-8") as file:
            file.write(failure["traceback"] + "\n")
        cell = None if failure["cell"] is None else failure["cell"] + 1
        return Failure(self.task.id, cell, failure["source"], f"{failure['error']}: {failure['message']}", log)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with atomic_write(self.folder / name, "w") as file:
            json.dump(content, file, indent=1, sort_keys=True)


def _environment(out: Path, threads: int) -> dict[str, str]:
    """One number of threads and one hash seed for every run; no start-up files of the user's IPython."""
    fixed = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    fixed |= {"PYTHONHASHSEED": "0", "TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return os.environ | fixed | {"IPYTHONDIR": str((out / STATE / "ipython").resolve())}
