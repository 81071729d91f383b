"""Kill runs at random moments, let two meet in one folder, fill the disk: what is left in the end is what a run that
nothing befell leaves, byte for byte."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from evaluation_helpers import contents
from forks import Child, command
from processes import processes_in
from study_notebooks import write_config, write_study

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Evaluation:
    """A run of `ovss evaluate` and what it leaves; a cluster keeps no scores."""

    def __init__(self, folder: Path, keep_scores: bool = True) -> None:
        self.folder = folder
        self.options = ["--keep-scores", "float32"] if keep_scores else []
        os.environ["OVSS_CACHE"] = str(folder / "cache")
        ended = self.start("reference").wait()
        assert ended.code == 0, ended.err
        started = time.monotonic()
        shutil.rmtree(folder / "reference")
        assert self.start("reference").wait().code == 0
        self.seconds = time.monotonic() - started
        self.expected = contents(folder / "reference")

    def start(self, name: str, largest: int | None = None, log: str = "", cluster: str | None = None) -> Child:
        """Begin the run, or go on with it, in a folder of that name."""
        words = ["evaluate", "--data", "scenes", "--methods", "clip,naclip", "--limit", 8, "--shard-size", 2]
        words += [*self.options, "--device", "cpu", "--out", self.folder / name]
        words += [] if cluster is None else ["--cluster", cluster]
        return command(words, self.folder / f"log-{name}{log}", largest)

    def check(self, name: str, what: str) -> None:
        """Finish a run that something befell, and compare what it left."""
        ended = self.start(name).wait()
        assert ended.code == 0, f"{what}: {ended}"
        found = contents(self.folder / name)
        odd = [file for file in {**found, **self.expected} if found.get(file) != self.expected.get(file)]
        assert not odd, f"{what}: other files or contents: {odd}"
        shutil.rmtree(self.folder / name)


def kill_evaluate(folder: Path, count: int, seed: int) -> Counter[str]:
    """Kill evaluations at random moments, several times each, and let them end."""
    run, draw, outcomes = Evaluation(folder), random.Random(seed), Counter()
    for number in range(count):
        signal_number = draw.choice(SIGNALS)
        ended = run.start("run").wait_or_kill(draw.uniform(0, 1.1 * run.seconds), signal_number)
        what = f"kill {number} of seed {seed} by {signal_number.name}"
        assert ended.code in (0, -signal_number, 143, 130), f"{what}: {ended}"
        assert "Traceback" not in ended.err or ended.code < 0, f"{what}: {ended.err}"
        outcomes["ended before" if ended.code == 0 else signal_number.name] += 1
        if ended.code in (143, 130):
            assert ended.last.startswith("ovss: "), f"{what}: {ended.err}"
        if ended.code == 0 or draw.random() < 0.4:
            run.check("run", what)
    run.check("run", "the last kill")
    return outcomes


def two_runs(folder: Path, count: int, seed: int) -> Counter[str]:
    """Start the same run twice in one folder: one of the two is refused, or comes when the other has ended."""
    run, draw, outcomes = Evaluation(folder), random.Random(seed), Counter()
    for number in range(count):
        first = run.start("run")
        time.sleep(draw.uniform(0, run.seconds / 2))
        second = run.start("run", log="-second")
        pair = [first.wait(), second.wait()]
        refused = [ended for ended in pair if ended.code == 2]
        what = f"pair {number} of seed {seed}"
        assert {ended.code for ended in pair} <= {0, 2}, f"{what}: {pair}"
        assert len(refused) < 2, f"{what}: {pair}"
        assert all("is in use by another run" in ended.last for ended in refused), f"{what}: {pair}"
        outcomes["one refused" if refused else "one after the other"] += 1
        run.check("run", what)
    return outcomes


def full_disk(folder: Path, count: int, seed: int) -> Counter[str]:
    """Let no file grow beyond a random size: one line says so, and the run goes on later."""
    run, draw, outcomes = Evaluation(folder), random.Random(seed), Counter()
    largest = max(map(len, run.expected.values()))
    for number in range(count):
        if draw.random() < 0.3:
            shutil.rmtree(folder / "cache", ignore_errors=True)
        limit = int(largest ** draw.uniform(0, 1.05))
        ended = run.start("run", limit).wait()
        what = f"limit {number} of seed {seed}, {limit} bytes"
        assert ended.code in (0, 2), f"{what}: {ended}"
        # Standard error is a file, too, and may be cut off by the limit.
        assert ended.code == 0 or limit < 2000 or ended.last.startswith("ovss: error: "), f"{what}: {ended.err}"
        outcomes["enough room" if ended.code == 0 else "refused, then finished"] += 1
        run.check("run", what)
    return outcomes


def kill_reproduce(folder: Path, count: int, seed: int) -> Counter[str]:
    """Kill a study's batch at random moments: its notebooks end, and the next run goes on to the same tables."""
    draw, outcomes = random.Random(seed), Counter()
    notebooks = write_study(folder)
    config = write_config(folder, '[notebooks.22_table]\ndatasets = ["scenes", "voc21"]\n')

    def start(name: str) -> Child:
        words = ["reproduce", config, "--out", folder / name, "--notebooks", notebooks, "--jobs", 2]
        return command(words, folder / f"log-{name}")

    def finish(name: str) -> dict[str, bytes]:
        ended = start(name).wait()
        assert ended.code == 0, ended.err
        return {path.name: path.read_bytes() for path in sorted((folder / name / "tables").iterdir())}

    started = time.monotonic()
    expected = finish("reference")
    seconds = time.monotonic() - started
    for number in range(count):
        ended = start("run").wait_or_kill(draw.uniform(0, seconds), signal.SIGKILL)
        what = f"kill {number} of seed {seed}"
        assert ended.code in (0, -signal.SIGKILL), f"{what}: {ended}"
        outcomes["ended before" if ended.code == 0 else "SIGKILL"] += 1
        end = time.monotonic() + 10
        while left := processes_in(folder / "run" / ".state"):
            assert time.monotonic() < end, f"{what}: processes {left} run on"
            time.sleep(0.05)
        if ended.code == 0 or draw.random() < 0.3:
            assert finish("run") == expected, what
            shutil.rmtree(folder / "run")
    assert finish("run") == expected
    return outcomes
