"""Atomic files, content digests and the cache folder."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import platformdirs


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """A file that appears under its name whole or not at all.

    The content goes to a temporary file in the same folder, is flushed to disk and renamed into place when the block
    ends
    without an error; otherwise the temporary file is removed and an earlier file of that name stays as it was.

    Args:
        path: Where the file is to be; its folder must exist.
        mode: "wb" or "w".
        options: Passed on to `os.fdopen`, e.g. `newline`.

    Yields:
        The open temporary file.
    """
    path = Path(path)
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON-serialisable value, independent of the order of dictionary keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """The folder for things that can be computed again: `$OVSS_CACHE`, else the platform's cache folder for `ovss`."""
    root = Path(os.environ.get("OVSS_CACHE") or platformdirs.user_cache_dir("ovss", appauthor=False))
    root.mkdir(parents=True, exist_ok=True)
    return root
