"""Atomic files, checksums inside files, content digests and the cache folder.

Atomic: a file appears whole under its name, or not at all. Digest: the SHA-256 of a value or of a file's bytes. Seal: a
checksum that a file holds of itself. Sweep: to remove temporary files whose writer has died.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import filelock
import platformdirs
import psutil

from ovss.errors import InputError

__all__ = [
    "EMPTY_SEAL",
    "atomic_write",
    "cache_dir",
    "check_seal",
    "digest",
    "file_digest",
    "only_run",
    "read_sealed_json",
    "seal",
    "sealed_json",
    "sweep",
]

_SEAL = b"sha256-of-this-file:"
_SEALED = re.compile(_SEAL + rb"([0-9a-f]{64})")
EMPTY_SEAL = _SEAL.decode() + "0" * 64
"""What a writer puts where `seal` is to enter the checksum."""

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_TEMPORARY = re.compile(r"\..+?\.(?:(?P<pid>\d+)-(?P<host>[0-9a-f]{8})\.)?[a-z0-9_]{8}\.part")
_ABANDONED = 24 * 3600
"""Age in seconds from which a temporary file counts as abandoned, if its writer cannot be looked up."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """A file that appears under its name whole or not at all.

    The content goes to a temporary file in the same folder, is flushed to disk and renamed into place when the block
    ends without an error; otherwise the temporary file is removed and an earlier file of that name stays as it was.
    What a killed process leaves is removed by `sweep`.

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
    # A name that says who writes, and never longer than file systems take.
    prefix = f".{path.name[:80]}.{os.getpid()}-{_HOST}."
    handle, temporary = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=path.parent)
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


def sweep(folder: Path) -> list[Path]:
    """Remove temporary files of `atomic_write` whose writer has died; other files of the folder are left alone.

    A file of a process that runs on this machine is never touched. One whose writer cannot be looked up, because it ran
    on another machine, is removed when it is a day old.

    Args:
        folder: Searched without its subfolders; need not exist.

    Returns:
        The files removed.
    """
    removed = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(folder.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found is None:
                continue
            # Another process may sweep, or finish its file, at the same time.
            with contextlib.suppress(OSError):
                if _abandoned(path.stat().st_mtime, found["pid"], found["host"]):
                    path.unlink()
                    removed.append(path)
    return removed


def _abandoned(changed: float, pid: str | None, host: str | None) -> bool:
    if pid is None or host != _HOST:
        return time.time() - changed > _ABANDONED
    try:
        # A process that began after the file was last written has only inherited the number.
        return psutil.Process(int(pid)).create_time() > changed + 1
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@contextlib.contextmanager
def only_run(folder: Path, lock_file: Path) -> Iterator[None]:
    """Keep a second run out of an output folder, and remove what a killed one left there half written.

    The operating system holds the lock, so the end of a process, even by a kill, releases it.

    Args:
        folder: Exists and can be written.
        lock_file: The empty file that is locked; it stays. Its folder exists, too.

    Raises:
        InputError: Another run works there.
    """
    lock = filelock.FileLock(lock_file, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"output folder '{folder}' is in use by another run; wait until it has ended, or give another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        warnings.warn(f"'{folder}' cannot be locked ({error}); let no other run write there", UserWarning, stacklevel=3)
    try:
        sweep(folder)
        yield
    finally:
        lock.release()


def seal(content: bytes) -> bytes:
    """Enter the SHA-256 of a file's content into the content itself, so that damage to any byte is noticed.

    Args:
        content: Holds `EMPTY_SEAL` somewhere; the digits are replaced by the checksum of the content as given.
    """
    sealed = content.replace(EMPTY_SEAL.encode(), _SEAL + hashlib.sha256(content).hexdigest().encode(), 1)
    check_seal(sealed)
    return sealed


def check_seal(content: bytes) -> None:
    """Make sure that content is what `seal` made.

    Raises:
        ValueError: A byte has changed, or there is no checksum.
    """
    found = _SEALED.search(content)
    if found is None:
        raise ValueError("it has no checksum, or an older version of ovss wrote it")
    start, end = found.span(1)
    if hashlib.sha256(content[:start] + b"0" * 64 + content[end:]).hexdigest().encode() != found[1]:
        raise ValueError("its checksum does not fit its content")


def sealed_json(value: dict[str, Any]) -> bytes:
    """A JSON file with a checksum, under the key "checksum"; see `read_sealed_json`."""
    text = json.dumps(value | {"checksum": EMPTY_SEAL}, indent=1, ensure_ascii=False) + "\n"
    return seal(text.encode())


def read_sealed_json(path: Path) -> dict[str, Any]:
    """What `sealed_json` wrote, without the checksum.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged.
    """
    content = path.read_bytes()
    check_seal(content)
    value = json.loads(content)
    del value["checksum"]
    return value


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
