"""Break the package on purpose, one line at a time, and see that the tests notice.

`python tests/attack/mutants.py` breaks all of it; the test beside it a tenth. Each mutant is one change to one file,
made in a copy of the tree, and names the tests that must fail under it (`mutants.toml`). The copy has no `../shared`
beside it, so a mutant counts as noticed only by tests that everybody can run. A mutant whose old text is not found
exactly once is stale and an error, as is a test that fails without any mutant.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("ovss", "tests", "tools", "notebooks", "docs", "pyproject.toml", "README.md")
SECONDS = 300
"""A test that takes longer under a mutant counts as failed."""
_FAILED, _PASSED = 1, 0


class Mutant(NamedTuple):
    """A change to one file.

    Attributes:
        name: What is wrong under it.
        file: Relative to the repository.
        old: Text that occurs once.
        new: What takes its place.
        tests: Those of which one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_mutants() -> tuple[list[Mutant], set[str]]:
    """The mutants of `mutants.toml`, and the tests that take about a second.

    Raises:
        AssertionError: A mutant is stale.
    """
    content = tomllib.loads((HERE / "mutants.toml").read_text(encoding="utf-8"))
    mutants = [Mutant(**entry | {"tests": tuple(entry["tests"])}) for entry in content["mutant"]]
    for mutant in mutants:
        _mutated(ROOT, mutant)
    return mutants, set(content["quick"])


class Outcome(NamedTuple):
    """What became of a mutant: "killed", "survived", or why neither can be said."""

    mutant: Mutant
    verdict: str
    seconds: float


def attack(folder: Path, mutants: Sequence[Mutant], report: Callable[[str], object] = print) -> list[Outcome]:
    """Run the tests of each mutant in a copy of the tree.

    Args:
        folder: An empty folder to work in.
        mutants: Which ones.
        report: Takes a line per mutant.

    Raises:
        AssertionError: A mutant is stale, or a test fails without one.
    """
    tree = folder / "tree"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else:
            shutil.copy2(source, tree / name)
    texts = {mutant: _mutated(tree, mutant) for mutant in mutants}
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    _import_libraries()
    started = time.monotonic()
    # Tests that are slow run only where they are named.
    for group in ([test for test in tests if "::" not in test], [test for test in tests if "::" in test]):
        passed = not group or _run(tree, group, 6 * SECONDS) == _PASSED
        assert passed, f"a test fails without any mutant: see\n{(tree / 'log').read_text()[-4000:]}"
    report(f"{len(tests)} tests pass without a mutant ({time.monotonic() - started:.0f} s)")
    outcomes = []
    for mutant in mutants:
        path = tree / mutant.file
        whole, started = path.read_text(encoding="utf-8"), time.monotonic()
        _replace(path, texts[mutant])
        code = _run(tree, mutant.tests)
        _replace(path, whole)
        verdict = {_FAILED: "killed", _PASSED: "survived", None: "killed"}.get(code, f"broken (pytest says {code})")
        outcomes.append(Outcome(mutant, verdict, time.monotonic() - started))
        report(f"{verdict:8} {outcomes[-1].seconds:5.1f} s  {mutant.name}")
    return outcomes


def _mutated(tree: Path, mutant: Mutant) -> str:
    text = (tree / mutant.file).read_text(encoding="utf-8")
    found = text.count(mutant.old)
    assert found == 1, f"stale mutant '{mutant.name}': its text is found {found} times in {mutant.file}"
    return text.replace(mutant.old, mutant.new)


def _replace(path: Path, text: str) -> None:
    """Write a source and remove what Python compiled from the former one, which may be of the same size and second."""
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _import_libraries() -> None:
    """What takes seconds to import, once for all children; nothing of ovss: each child reads that from its tree."""
    for name in ("open_clip", "pandas", "pytest", "scipy.stats", "sklearn.cluster", "timm", "nbformat"):
        __import__(name)
    import torch

    torch.set_num_threads(1)
    assert not [name for name in sys.modules if name.split(".")[0] == "ovss"], "ovss must not be imported here"


def _run(tree: Path, tests: Sequence[str], seconds: float = SECONDS) -> int | None:
    """Exit code of pytest in a child process; None when it took too long."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _test(tree, tests)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # Whatever happens: what goes on after it would be a second parent.
    for _ in _ticks(seconds):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
        yield


def _test(tree: Path, tests: Sequence[str]) -> int:
    os.setsid()
    os.chdir(tree)
    log = os.open(tree / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ["PYTHONPATH"] = str(tree)
    os.environ.pop("PYTEST_XDIST_WORKER", None)
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, HERE))]
    import pytest

    import ovss

    assert Path(ovss.__file__).is_relative_to(tree), f"the tests would run on {ovss.__file__}"
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore:Module already imported"]
    if "::" not in tests[0]:
        options += ["-m", "not slow"]
    return int(pytest.main([*options, f"--rootdir={tree}", f"--basetemp={tree.parent / 'tmp'}", *tests]))


def table(outcomes: Sequence[Outcome]) -> str:
    """What survived, and how many of all were noticed."""
    left = [f"{outcome.verdict}: {outcome.mutant.name}" for outcome in outcomes if outcome.verdict != "killed"]
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    return "\n".join([*left, f"{killed} of {len(outcomes)} mutants killed"])


def main() -> int:
    """Run the mutants and print which were killed; 1 when one was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th mutant (default: all)")
    parser.add_argument("--quick", action="store_true", help="every fourth of those whose tests take a second")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="mutants whose name or file has one of the words")
    arguments = parser.parse_args()
    words = arguments.only or [""]
    mutants, quick = read_mutants()
    chosen = [mutant for mutant in mutants if any(word in mutant.name or word in mutant.file for word in words)]
    if arguments.quick:
        chosen = [mutant for mutant in chosen if set(mutant.tests) <= quick][::4]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = attack(Path(folder), chosen[:: arguments.every], lambda line: print(line, flush=True))
    print(table(outcomes))
    return int(any(outcome.verdict != "killed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
