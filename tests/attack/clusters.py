"""Kill workers and the scheduler of a cluster at random moments, or let workers come late: what is left in the end is
what a run on this machine leaves, byte for byte, and what ends a run says so in one line."""

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from evaluation_helpers import contents
from kills import Evaluation

KINDS = ("a worker killed", "the scheduler killed", "workers that come late")
_SECONDS = 120


class Cluster:
    """A scheduler and its workers, each a process that can be killed.

    Args:
        folder: Where they work and leave their logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        note = self.folder / "scheduler.json"
        options = ("--port", 0, "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", note)
        self.scheduler = self._start("scheduler", *options)
        self.workers: list[subprocess.Popen[bytes]] = []
        end = time.monotonic() + _SECONDS
        while not note.is_file() or not note.read_text():
            assert self.scheduler.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the scheduler does not start"
            time.sleep(0.05)
        self.address: str = json.loads(note.read_text())["address"]

    def add_worker(self) -> None:
        """Another worker."""
        self.workers.append(self._start("worker", self.address, "--nthreads", 1, "--no-dashboard", "--no-nanny"))

    def close(self) -> None:
        """End everything that is left."""
        for child in (*self.workers, self.scheduler):
            child.kill()
            child.wait()

    def _start(self, part: str, *words: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *map(str, words)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)


def attack(folder: Path, count: int, seed: int) -> Counter[str]:
    """Let something befall a cluster in each run, turn by turn."""
    run, draw, outcomes = Evaluation(folder, keep_scores=False), random.Random(seed), Counter()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        what = f"{kind}, run {number} of seed {seed}"
        cluster = Cluster(folder)
        try:
            outcomes[f"{kind}: {_befall(run, kind, cluster, draw, what)}"] += 1
        finally:
            cluster.close()
        run.check("run", what)
    return outcomes


def _befall(run: Evaluation, kind: str, cluster: Cluster, draw: random.Random, what: str) -> str:
    out, late = run.folder / "run", kind == "workers that come late"
    for _ in range(0 if late else 2):
        cluster.add_worker()
    child = run.start("run", cluster=cluster.address)
    wanted = draw.randrange(0, 4)
    if late:
        time.sleep(draw.uniform(0, 3))
        cluster.add_worker()
    else:
        end = time.monotonic() + _SECONDS
        while len(list(out.rglob("*.npz"))) < wanted and not child.ended and time.monotonic() < end:
            time.sleep(0.01)
        (cluster.scheduler if kind == "the scheduler killed" else draw.choice(cluster.workers)).kill()
    ended = child.wait(_SECONDS)
    assert "Traceback" not in ended.err, f"{what}: {ended.err}"
    if ended.code == 0:
        found = contents(out)
        odd = [file for file in {**found, **run.expected} if found.get(file) != run.expected.get(file)]
        assert not odd, f"{what}: other files or contents: {odd}"
        return "finished"
    assert kind == "the scheduler killed", f"{what}: {ended}"
    assert ended.code == 2, f"{what}: {ended}"
    assert re.search(r"ovss: error: .*scheduler", ended.last), f"{what}: {ended.err}"
    kept = len(list(out.rglob("*.npz")))
    assert kept >= wanted, f"{what}: {wanted} records were written, {kept} are left"
    return "named, then finished here"
