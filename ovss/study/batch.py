"""Run the tasks that need it, several at a time, each in a process of its own."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.study.digests import task_digest
from ovss.study.execute import FAILURE
from ovss.study.plan import STATE, Task
from ovss.study.progress import BLOCKED, CURRENT, DONE, FAILED, RUNNING, WAITING, Display, Status
from ovss.study.sentinel import SENTINEL, read_sentinel

LOG = "log.txt"


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


def task_digests(tasks: Sequence[Task]) -> dict[str, str]:
    """Digest of each task, by id; `tasks` in the order of `plan_study`."""
    digests: dict[str, str] = {}
    for task in tasks:
        digests[task.id] = task_digest(task, digests)
    return digests


def is_current(out: Path, task: Task, digests: dict[str, str]) -> bool:
    """Whether the task's outputs are there, unchanged, and made from the present inputs."""
    done = read_sentinel(out / STATE / task.id)
    return done is not None and done["digest"] == digests[task.id]


def run_tasks(
    out: Path,
    tasks: Sequence[Task],
    digests: dict[str, str],
    *,
    jobs: int,
    threads: int,
    display: Display,
) -> tuple[list[Status], list[Failure]]:
    """Run all tasks that are not current; a failing one stops only those that read from it.

    Args:
        out: Folder of the report.
        tasks: What to run, in an order in which each follows those it reads from.
        digests: From `task_digests`.
        jobs: How many notebooks run at once.
        threads: CPU threads of each.
        display: Shows what happens.

    Returns:
        Final state of each task, and the failures.
    """
    states = {task.id: Status(task.id, CURRENT if is_current(out, task, digests) else WAITING) for task in tasks}
    running: dict[str, _Running] = {}
    failures: list[Failure] = []
    try:
        while True:
            for task in tasks:
                if _may_start(task, tasks, states, running, jobs):
                    running[task.id] = _Running(out, task, digests[task.id], threads, states[task.id])
            display.show(list(states.values()))
            if not running:
                break
            time.sleep(0.05)
            for name in [name for name, job in running.items() if job.process.poll() is not None]:
                failure = running.pop(name).finish()
                if failure is not None:
                    failures.append(failure)
                    _block(name, tasks, states)
    finally:
        for job in running.values():
            job.stop()
    display.show(list(states.values()), final=True)
    return list(states.values()), failures


def _may_start(
    task: Task, tasks: Sequence[Task], states: dict[str, Status], running: dict[str, "_Running"], jobs: int
) -> bool:
    if states[task.id].state != WAITING or len(running) >= jobs:
        return False
    if any(other.exclusive for other in tasks if other.id in running):
        return False
    if any(states[name].state not in (DONE, CURRENT) for name in task.after):
        return False
    # What measures time waits until nothing else is left that could run beside it.
    others = [other for other in tasks if other.id != task.id and not other.exclusive]
    return not task.exclusive or not any(
        states[other.id].state in (WAITING, RUNNING) for other in others if task.id not in other.after
    )


def _block(name: str, tasks: Sequence[Task], states: dict[str, Status]) -> None:
    for task in tasks:
        if name in task.after and states[task.id].state == WAITING:
            states[task.id].state = BLOCKED
            _block(task.id, tasks, states)


class _Running:
    """A notebook's process, with the thread that listens to it."""

    def __init__(self, out: Path, task: Task, digest: str, threads: int, status: Status) -> None:
        self.folder = out / STATE / task.id
        self.status = status
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        content = {"template": str(task.template.resolve()), "parameters": task.parameters, "digest": digest}
        with atomic_write(self.folder / "task.json", "w") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        with open(self.folder / LOG, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ovss.study.execute"],
                cwd=self.folder,
                env=_environment(out, threads),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        status.state, status.started = RUNNING, time.monotonic()
        self.listener = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self.listener.start()

    def _listen(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                message = json.loads(line)
                self.status.cell, self.status.cells = message["cell"], message["cells"]

    def finish(self) -> Failure | None:
        """Success is the return of the call and its sentinel, both."""
        self.listener.join()
        self.status.seconds = time.monotonic() - self.status.started
        code = self.process.returncode
        self.status.state = DONE if code == 0 and (self.folder / SENTINEL).is_file() else FAILED
        self._record()
        if self.status.state == DONE:
            return None
        log = self.folder / LOG
        if not (self.folder / FAILURE).is_file():
            return Failure(self.status.id, self.status.cell or None, "", f"the process ended with code {code}", log)
        told = json.loads((self.folder / FAILURE).read_text(encoding="utf-8"))
        with open(log, "a", encoding="utf-8") as file:
            file.write(told["traceback"] + "\n")
        cell = None if told["cell"] is None else told["cell"] + 1
        return Failure(self.status.id, cell, told["source"], f"{told['error']}: {told['message']}", log)

    def stop(self) -> None:
        """End the process, give its kernel a moment to go with it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.status.state = FAILED
        self._record()

    def _record(self) -> None:
        state = {"state": self.status.state, "seconds": round(self.status.seconds, 1), "cell": self.status.cell}
        with atomic_write(self.folder / "state.json", "w") as file:
            json.dump(state, file)


def _environment(out: Path, threads: int) -> dict[str, str]:
    """One number of threads and one hash seed for every run; no start-up files of the user's IPython."""
    fixed = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    fixed |= {"PYTHONHASHSEED": "0", "TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return os.environ | fixed | {"IPYTHONDIR": str((out / STATE / "ipython").resolve())}


@contextlib.contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Keep a second batch out of a report's folder.

    Raises:
        InputError: Another process works there.
    """
    path = out / STATE / "running.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and _alive(json.loads(path.read_text(encoding="utf-8"))):
        raise InputError(f"'{out}' is in use by another run; wait for it, or give --out another folder")
    with atomic_write(path, "w") as file:
        json.dump({"pid": os.getpid(), "started": psutil.Process().create_time()}, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _alive(holder: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(holder["pid"]).create_time() - holder["started"]) < 1
    except psutil.NoSuchProcess:
        return False
