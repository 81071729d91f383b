"""What an evaluation leaves behind: one small file of integers per shard of images, whole or not there at all."""

import io
import json
import lzma
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ovss.errors import InputError
from ovss.files import EMPTY_SEAL, atomic_write, check_seal, seal

__all__ = ["Record", "Shard", "Store", "make_folder", "write_bytes"]

_EXTRA = "extra_"
_LZMA: dict[str, Any] = {"format": lzma.FORMAT_RAW, "filters": [{"id": lzma.FILTER_LZMA2, "preset": 6}]}
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


class Shard(NamedTuple):
    """Images `start` up to but not including `stop`, in the order of the data set."""

    start: int
    stop: int

    @property
    def stem(self) -> str:
        """Name of the shard's file without suffix."""
        return f"{self.start:06d}-{self.stop:06d}"


def make_shards(images: int, size: int) -> list[Shard]:
    """Consecutive shards of `size` images; the last one may be shorter."""
    return [Shard(start, min(start + size, images)) for start in range(0, images, size)]


@dataclass(frozen=True)
class Record:
    """Counts of one shard, kept sparse: only classes that occur in the ground truth or the prediction of an image.

    Attributes:
        ids: Names of the images that were evaluated, in order.
        methods: Labels of the methods.
        classes: Number of classes C.
        rows: (n, 6) int64: image (index into `ids`), method (index into `methods`), class, intersection, ground-truth
            area, predicted area.
        skipped: Images that could not be read, by name, with the reason.
        extras: What was recorded beside the counts, by name: (n, k) integers, the first two of each row image and
            method; see `ovss.evaluation.extras`.
    """

    ids: tuple[str, ...]
    methods: tuple[str, ...]
    classes: int
    rows: np.ndarray
    skipped: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def collect(
        cls,
        images: Sequence[tuple[str, Mapping[str, np.ndarray]]],
        methods: Iterable[str],
        classes: int,
        skipped: Mapping[str, str],
        extras: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> "Record":
        """A record from the counts of its images.

        Args:
            images: Name and, per method label, counts (3, C) of each image.
            methods: Labels of the methods, in order.
            classes: Number of classes C.
            skipped: See the class.
            extras: By name, rows of each image as in the class, without the number of the image.
        """
        methods = tuple(methods)
        parts = [np.empty((0, 6), dtype=np.int64)]
        for number, (_, counts) in enumerate(images):
            for column, label in enumerate(methods):
                found = counts[label]
                present = np.flatnonzero(found.any(axis=0))
                head = np.broadcast_to([number, column], (len(present), 2))
                parts.append(np.column_stack([head, present, found[:, present].T]))
        more = {name: _numbered(rows) for name, rows in (extras or {}).items()}
        return cls(tuple(name for name, _ in images), methods, classes, np.concatenate(parts), dict(skipped), more)

    def counts(self, method: str) -> np.ndarray:
        """Dense counts (images, 3, C) of one method."""
        rows = self.rows[self.rows[:, 1] == self.methods.index(method)]
        dense = np.zeros((len(self.ids), 3, self.classes), dtype=np.int64)
        dense[rows[:, 0], :, rows[:, 2]] = rows[:, 3:]
        return dense

    def to_bytes(self, key: str, shard: Shard) -> bytes:
        """The file's content, with the checksum of all its bytes; equal records give equal bytes.

        Args:
            key: Identity of the run.
            shard: Which images of the data set these are.
        """
        note = {"key": key, "shard": shard, "ids": self.ids, "methods": self.methods, "classes": self.classes}
        text = json.dumps(note | {"skipped": self.skipped}, ensure_ascii=False, sort_keys=True).encode()
        buffer = io.BytesIO()
        extras: dict[str, Any] = {f"{_EXTRA}{name}": _packed(rows) for name, rows in self.extras.items()}
        np.savez_compressed(buffer, rows=self.rows, note=np.frombuffer(text, dtype=np.uint8), **extras)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = EMPTY_SEAL.encode()
        return seal(buffer.getvalue())

    @classmethod
    def from_bytes(cls, content: bytes, key: str, shard: Shard) -> "Record":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: The content is damaged (or another of the errors that numpy and zipfile raise then), or of
                another run or shard.
        """
        check_seal(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            rows, note = stored["rows"], json.loads(stored["note"].tobytes())
            names = [name for name in stored.files if name.startswith(_EXTRA)]
            extras = {name.removeprefix(_EXTRA): _unpacked(stored[name]) for name in names}
        if note["key"] != key:
            raise ValueError("it is of another run")
        if note["shard"] != list(shard):
            raise ValueError(f"it is of images {note['shard'][0]} to {note['shard'][1] - 1}")
        return cls(tuple(note["ids"]), tuple(note["methods"]), note["classes"], rows, note["skipped"], extras)


def _numbered(images: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of all images, each with the number of its image in front."""
    if not images:
        return np.empty((0, 0), dtype=np.int64)
    return np.concatenate([np.insert(rows, 0, number, axis=1) for number, rows in enumerate(images)])


def _packed(rows: np.ndarray) -> np.ndarray:
    """Integers (n, k) as bytes: their number of columns, then their four planes, of which those of zeros take no room.

    LZMA takes an eighth less than what an archive of numpy does.
    """
    if rows.size and (rows.min() < -(2**31) or rows.max() >= 2**31):
        raise ValueError("a number of an extra does not fit 32 bits")
    planes = np.ascontiguousarray(rows.astype("<i4")).view(np.uint8).reshape(*rows.shape, 4).transpose(1, 2, 0)
    content = rows.shape[1].to_bytes(2, "little") + lzma.compress(planes.tobytes(), **_LZMA)
    return np.frombuffer(content, dtype=np.uint8)


def _unpacked(stored: np.ndarray) -> np.ndarray:
    """What `_packed` packed; records of runs before it have the planes (k, 4, n) themselves."""
    if stored.ndim == 1:
        content = stored.tobytes()
        columns, rest = int.from_bytes(content[:2], "little"), lzma.decompress(content[2:], **_LZMA)
        planes = np.frombuffer(rest, dtype=np.uint8).reshape(columns, 4, len(rest) // max(1, 4 * columns))
    else:
        planes = stored
    if not planes.size:
        return np.empty((planes.shape[2], planes.shape[0]), dtype=np.int64)
    packed = np.ascontiguousarray(planes.transpose(2, 0, 1))
    return packed.reshape(len(packed), -1).view("<i4").reshape(len(packed), planes.shape[0]).astype(np.int64)


class Store:
    """Where the records of one run are: files in a folder, or memory when there is no folder.

    Args:
        key: Identity of the run; its records never mix with another run's.
        folder: Output folder of the run, created here; None keeps records in memory.
        ids: Names of the data set's images, in order, where they are known; a record of other images is not used.

    Raises:
        InputError: The folder cannot be created.
    """

    def __init__(self, key: str, folder: Path | None = None, ids: Sequence[str] | None = None) -> None:
        self.key = key
        self.folder = None if folder is None else folder / "records" / key[:16]
        self.ids = ids
        self._held: dict[Shard, Record] = {}
        if self.folder is not None:
            make_folder(self.folder, try_writing=False)

    @classmethod
    def open(cls, key: str, folder: Path) -> "Store":
        """The store of a finished run, for reading only: nothing is created or tried."""
        store = cls(key)
        store.folder = folder / "records" / key[:16]
        return store

    def get(self, shard: Shard) -> Record | None:
        """The record of a shard; None where there is none yet.

        Raises:
            InputError: Its file is damaged, or holds another shard or run; names the file.
        """
        if self.folder is None:
            return self._held.get(shard)
        path = self.folder / f"{shard.stem}.npz"
        try:
            record = Record.from_bytes(path.read_bytes(), self.key, shard)
            if self.ids is not None:
                _check_ids(record, self.ids[shard.start : shard.stop])
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise InputError(f"record '{path}' is damaged: {error}") from error
        return record

    def usable(self, shard: Shard) -> Record | None:
        """As `get`, but a damaged record gives a warning, because the run makes it again."""
        try:
            return self.get(shard)
        except InputError as error:
            warnings.warn(f"{error}; it is made again", UserWarning, stacklevel=2)
            return None

    def put(self, shard: Shard, record: Record) -> None:
        """Keep the record of a shard.

        Raises:
            InputError: The file cannot be written (disk full, folder removed); records written before are untouched.
        """
        if self.folder is None:
            self._held[shard] = record
        else:
            write_bytes(self.folder / f"{shard.stem}.npz", record.to_bytes(self.key, shard))


def _check_ids(record: Record, expected: Sequence[str]) -> None:
    skipped = set(record.skipped)
    if [name for name in expected if name not in skipped] != list(record.ids) or not skipped <= set(expected):
        raise ValueError("its images are others than the data set's")


def make_folder(folder: Path, try_writing: bool = True) -> None:
    """Create a folder and make sure, before any work is done, that files can be written into it.

    Args:
        folder: Which one.
        try_writing: Whether to write a file, which shows a full disk as well.

    Raises:
        InputError: It cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not try_writing:
            return
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"ovss")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a result file atomically.

    Raises:
        InputError: It cannot be written; a former file of that name is untouched.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write '{path}': {reason}; what was finished before is safe, the same command resumes there"
        ) from error
