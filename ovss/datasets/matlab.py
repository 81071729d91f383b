"""A strict reader for one matrix of a MATLAB 5 file.

SciPy's reader trusts the sizes that a file declares and crashes the interpreter on some damaged ones. Here every size
is checked against the bytes that are there before it is used, and decompression is bounded. The format is MathWorks'
"MAT-File Format", chapter 1, as far as a full numeric matrix needs it.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ovss.errors import InputError
from ovss.images import check_regular

_HEADER = 128
LARGEST = 1 << 28
"""Bytes of a file and of what it unpacks to; a label map of 30 million double values."""
COMPRESSED, MATRIX, INT8, INT32, UINT32 = 15, 14, 1, 5, 6
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy types of element types; a matrix of one class may be stored in a smaller type."""
_NUMERIC = range(6, 16)
"""Classes double, single, and the integers from 8 to 64 bits."""
_COMPLEX = 0x0800


class _Damaged(Exception):
    """What is wrong with a file."""


def read_matrix(path: Path, name: str) -> Int64[np.ndarray, "H W"]:
    """One real matrix of whole numbers from a MATLAB 5 file (`save -v6` or `-v7`).

    Args:
        path: The file.
        name: Name of the matrix.

    Returns:
        Its values, whatever numeric class it has.

    Raises:
        InputError: The file is missing, no regular file, damaged, of another version, or holds no such matrix.
    """
    check_regular(path, ".mat file")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        names = []
        for body, order in _matrices(content):
            found = _name(body, order)
            if found == name:
                return _values(body, order)
            names.append(found)
    except (_Damaged, OSError, zlib.error, MemoryError) as error:
        raise InputError(f"'{path}' cannot be read as a .mat file: {error}") from error
    raise InputError(f"'{path}' must hold an array {name}; it holds {', '.join(names) or 'nothing'}")


def _matrices(content: bytes) -> Iterator[tuple[memoryview, str]]:
    """Bodies of the matrices of a file, and their byte order ("<" or ">")."""
    if len(content) > LARGEST:
        raise _Damaged(f"it has more than {LARGEST} bytes")
    if content[:8] == b"\x89HDF\r\n\x1a\n" or content[:19] == b"MATLAB 7.3 MAT-file":
        raise _Damaged("it is of version 7.3; save it with '-v7'")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER])
    if order is None or struct.unpack(order + "H", content[124:126]) != (0x0100,):
        raise _Damaged("it has no MATLAB 5 header")
    position, end = _HEADER, len(content)
    view = memoryview(content)
    while position < end:
        kind, start, size, following = _tag(view, position, order)
        body = view[start : start + size]
        if kind == COMPRESSED:
            # Compressed elements are the only ones that no padding follows.
            following = start + size
            body = _unpacked(body)
            kind, start, size, _ = _tag(body, 0, order)
            body = body[start : start + size]
        if kind != MATRIX:
            raise _Damaged(f"it has an element of type {kind} where a matrix is expected")
        yield body, order
        position = following


def _unpacked(body: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(body, LARGEST)
    if not unpacker.eof:
        raise _Damaged("its compressed part is cut off or too large")
    return memoryview(content)


def _tag(view: memoryview, position: int, order: str) -> tuple[int, int, int, int]:
    """Type, first byte, length, and position of what follows, of the element at `position`."""
    if len(view) - position < 8:
        raise _Damaged("it ends within an element")
    kind, size = struct.unpack_from(order + "II", view, position)
    if kind >> 16:
        # Up to four bytes of data may lie in the tag itself, their length in the upper half of its first word.
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _Damaged(f"it has a small element of {size} bytes")
        return kind, position + 4, size, position + 8
    start = position + 8
    if size > len(view) - start:
        raise _Damaged(f"it declares {size} bytes where {len(view) - start} are left")
    return kind, start, size, start + (size + 7) // 8 * 8


def _part(view: memoryview, position: int, order: str, kinds: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Numbers of the element at `position`, and the position of what follows."""
    kind, start, size, following = _tag(view, position, order)
    if kind not in kinds:
        raise _Damaged(f"it has an element of type {kind} within a matrix where {kinds} belong")
    stored = np.dtype(order + _STORED[kind])
    if size % stored.itemsize:
        raise _Damaged(f"it has {size} bytes of numbers of {stored.itemsize} bytes each")
    return np.frombuffer(view[start : start + size], dtype=stored), following


def _head(body: memoryview, order: str) -> tuple[int, np.ndarray, str, int]:
    """Flags, dimensions and name of a matrix, and the position of its values."""
    flags, position = _part(body, 0, order, (UINT32,))
    dimensions, position = _part(body, position, order, (INT32,))
    name, position = _part(body, position, order, (INT8,))
    if len(flags) != 2:
        raise _Damaged(f"it has {len(flags)} words of flags instead of 2")
    return (
        int(flags[0]),
        dimensions,
        "".join(c if c.isprintable() else "?" for c in name.tobytes().decode("latin-1")),
        position,
    )


def _name(body: memoryview, order: str) -> str:
    return _head(body, order)[2]


def _values(body: memoryview, order: str) -> Int64[np.ndarray, "H W"]:
    flags, dimensions, _, position = _head(body, order)
    if flags & 0xFF not in _NUMERIC or flags & _COMPLEX:
        raise _Damaged("its matrix is not one of real numbers")
    if len(dimensions) != 2 or (dimensions < 1).any():
        raise _Damaged(f"its matrix has the dimensions {dimensions.tolist()} instead of two")
    numbers, _ = _part(body, position, order, tuple(_STORED))
    rows, columns = (int(length) for length in dimensions)
    if rows * columns != len(numbers):
        raise _Damaged(f"its matrix is {rows}x{columns}, but holds {len(numbers)} numbers")
    with np.errstate(invalid="ignore"):
        whole = numbers.astype(np.int64)
    if numbers.dtype.kind == "f" and not np.array_equal(whole, numbers):
        raise _Damaged("its matrix holds numbers that are not whole")
    if numbers.dtype.kind == "u" and (whole < 0).any():
        raise _Damaged("its matrix holds numbers beyond 2**63")
    return whole.reshape(rows, columns, order="F")
