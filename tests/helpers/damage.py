"""Ways to damage a file, and what the files of a report must stand."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a flipped bit": lambda content, draw: _flip(content, draw.randrange(len(content)), draw.randrange(8)),
    "a cut": lambda content, draw: content[: draw.randrange(len(content))],
    "a block of zeros": lambda content, draw: _overwrite(content, draw, bytes(draw.randint(1, 64))),
    "random bytes": lambda content, draw: _overwrite(content, draw, draw.randbytes(draw.randint(1, 64))),
    "nothing left": lambda content, draw: b"",
    "more behind": lambda content, draw: content + draw.randbytes(draw.randint(1, 64)),
    "a byte lost": lambda content, draw: _lose(content, draw.randrange(len(content))),
}


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A damage and the content under it, which differs from what was there."""
    while True:
        name, damage = draw.choice([*DAMAGES.items()])
        changed = damage(content, draw)
        if changed != content:
            return name, changed


def attack_report(out: Path, run: Callable[[], Any], count: int, seed: int, states: int) -> Counter[tuple[str, str]]:
    """Damage files of a finished report one at a time, run the study again, and see that nothing damaged stays.

    Args:
        out: Folder of the report.
        run: Runs the study again; returns its result.
        count: Number of corruptions of tables, pages and the record.
        seed: Of the choice of files and damages.
        states: Number of corruptions of what notebooks left, which make one run again.

    Returns:
        How often each kind of file met each outcome.

    Raises:
        AssertionError: A damage went unseen or moved a file.
    """
    draw = random.Random(seed)
    pages = sorted(path for path in out.rglob("*.html") if ".state" not in path.parts)
    tables = sorted(path for kind in ("tables", "figures", "timings") for path in (out / kind).iterdir())
    inside = sorted(path for path in out.glob(".state/2*/**/*") if path.is_file())
    # What is written for people, or anew before each run, is read by nothing.
    state = [path for path in inside if path.name not in ("task.json", "state.json", "log.txt")]
    kinds = {"table": tables, "page": pages, "record": [out / "run.json"]}
    # What notebooks measure differs from run to run, in a table and in the record.
    timed = ("seconds.csv", "run.json", "done.json", "notebook.ipynb")
    whole = {path: path.read_bytes() for path in [*tables, *pages, *state, out / "run.json"]}
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(count + states):
        kind = list(kinds)[number % len(kinds)] if number < count else "state"
        path = draw.choice(kinds.get(kind, state))
        before = path.read_bytes()
        name, content = damaged(before, draw)
        path.write_bytes(content)
        result = run()
        what = f"corruption {number} of seed {seed}: {name} in '{path}'"
        assert not result.failures, f"{what}: {result.failures}"
        assert result.rebuilt, f"{what} went unseen"
        again = [status.id for status in result.statuses if status.state == "done"]
        assert bool(again) == (kind == "state"), f"{what}: ran {again}"
        outcomes[kind, "run again" if again else "joined again"] += 1
        assert path.read_bytes() != content, f"{what}: it is still there"
        for file, expected in whole.items():
            if kind != "state":
                assert file.name == "run.json" or file.read_bytes() == expected, f"{what} moved '{file}'"
            elif file.name not in timed and file.suffix != ".html":
                assert file.read_bytes() == expected, f"{what} moved '{file}'"
        whole |= {file: file.read_bytes() for file in whole}
    return outcomes


def _flip(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def _overwrite(content: bytes, draw: random.Random, block: bytes) -> bytes:
    start = draw.randrange(len(content))
    return (content[:start] + block + content[start + len(block) :])[: len(content)]


def _lose(content: bytes, position: int) -> bytes:
    return content[:position] + content[position + 1 :]
