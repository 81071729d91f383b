"""What is known of files by their contents, computed once per file and remembered until it changes.

A file counts as unchanged while its path, size, and times of change (of content and of attributes, in ns) do. Files
that changed within the last two seconds are not remembered: a second change within one tick of the clock would pass
unseen.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ovss.errors import InputError
from ovss.files import atomic_write, cache_dir, digest, file_digest
from ovss.images import check_regular

_THREADS = min(8, os.cpu_count() or 1)
TICK_NS = 2_000_000_000
UNREADABLE = "unreadable"
"""Stands for the contents of a file that is missing or cannot be read; what reads it later names it."""

_Stamp = tuple[int, int, int]


def digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, `UNREADABLE` where there is none to read.

    The first time costs reading all files, on several threads: about a second for 1 GB on a local disk, so a few
    seconds for COCO's 5,000 validation images; afterwards only their attributes are read.
    """
    return remembered("sha256", paths, file_digest)


def remembered(kind: str, paths: Sequence[Path], compute: Callable[[Path], Any]) -> list[Any]:
    """A fact about each file, from the cache folder where it is known.

    Args:
        kind: Name of the fact; its version belongs into it.
        paths: The files.
        compute: Makes the fact, a JSON value, from a file; an `OSError` or `InputError` makes it `UNREADABLE`.
    """
    store = _store(kind, paths)
    known = _load(store)
    now = time.time_ns()
    stamps = [_stamp(path) for path in paths]
    keys = [str(path.absolute()) for path in paths]
    facts = [_known(known.get(key), stamp) for key, stamp in zip(keys, stamps, strict=True)]
    missing = [number for number, fact in enumerate(facts) if fact is None]

    def fact(number: int) -> Any:
        try:
            check_regular(paths[number], "file")
            return compute(paths[number])
        except (OSError, InputError):
            return UNREADABLE

    if missing:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="ovss") as pool:
            for number, found in zip(missing, pool.map(fact, missing), strict=True):
                facts[number] = found
    fresh = {
        key: [list(stamp), value]
        for key, stamp, value in zip(keys, stamps, facts, strict=True)
        if stamp is not None and value != UNREADABLE and now - max(stamp[1:]) > TICK_NS
    }
    if fresh != known:
        _save(store, fresh)
    return facts


def _known(entry: Any, stamp: _Stamp | None) -> Any:
    """What was remembered of a file that has this stamp now; None where nothing was."""
    return entry[1] if entry is not None and stamp is not None and tuple(entry[0]) == stamp else None


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _store(kind: str, paths: Sequence[Path]) -> Path | None:
    """Where facts about these files are kept; None without a folder to write to."""
    name = hashlib.sha256("\0".join([kind, *(str(path.absolute()) for path in paths)]).encode(errors="surrogateescape"))
    try:
        folder = cache_dir() / "contents"
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder / f"{name.hexdigest()[:32]}.json"


def _load(store: Path | None) -> dict[str, Any]:
    """What was remembered; nothing, where the file is missing, damaged or edited."""
    if store is None:
        return {}
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        files = content["files"]
        whole = isinstance(files, dict) and content["digest"] == digest(files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if whole else {}


def _save(store: Path | None, files: dict[str, Any]) -> None:
    if store is None:
        return
    try:
        with atomic_write(store, "w") as file:
            json.dump({"digest": digest(files), "files": files}, file)
    except (OSError, ValueError):
        # A full or read-only cache costs time at the next use, nothing else.
        return
