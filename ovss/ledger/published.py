"""Published cells, read and checked."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.datasets import BENCHMARKS
from ovss.errors import InputError, suggest
from ovss.methods.paper import SUPPORT
from ovss.metrics import MEASURES
from ovss.protocols import list_protocols

FOLDER = Path(__file__).parent
KEY = ["method", "arch", "weights", "protocol", "dataset", "metric"]
"""What identifies a measured cell."""
UNKNOWN = "unknown"
"""Protocol of a cell whose source used none that is named here, or does not say which."""
COLUMNS = (
    *("method", "arch", "weights", "towers", "support", "protocol", "dataset", "metric"),
    *("value", "source", "note", "protocol_reason"),
)
_REQUIRED = ("method", "arch", "weights", "towers", "source")


def load_published(path: str | Path | None = None) -> pd.DataFrame:
    """Published cells, one per row.

    Args:
        path: A CSV file with the columns below; None: the ledger's own.

    Returns:
        Text columns method, arch, weights, towers (the pretrained models a method uses), support (a key of `SUPPORT`),
        protocol (a shipped name or "unknown"), dataset, metric, source, note and protocol_reason (how the protocol is
        known, or why it is not); `value` in percent, NaN where none is known.

    Raises:
        InputError: The file cannot be read, or a row is malformed; names file and line.
    """
    file = FOLDER / "published.csv" if path is None else Path(path)
    protocols = {*list_protocols(), UNKNOWN}
    rows: list[dict[str, Any]] = []
    lines: dict[tuple[str, ...], int] = {}
    for line, row in read_rows(file, COLUMNS):
        where = f"{file}, line {line}"
        _check(row, protocols, where)
        cell = (*(row[name] for name in KEY), row["source"], row["towers"])
        if cell in lines:
            raise InputError(f"{where}: the same cell as in line {lines[cell]}")
        lines[cell] = line
        rows.append(row | {"value": percent(row["value"], "value", where)})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})


def read_rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells of each row of a CSV file with exactly these columns.

    Raises:
        InputError: The file cannot be read, has other columns, or a row has too few or too many cells.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            head = tuple(next(reader, ()))
            if head != columns:
                raise InputError(f"{file}, line 1: the columns must be {','.join(columns)}; found {','.join(head)}")
            for cells in reader:
                if len(cells) != len(columns):
                    raise InputError(f"{file}, line {reader.line_num}: {len(cells)} cells instead of {len(columns)}")
                yield reader.line_num, dict(zip(columns, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{file}' cannot be read: {error}") from error


def percent(text: str, column: str, where: str) -> float:
    """A number from 0 to 100; NaN for an empty cell.

    Raises:
        InputError: Anything else.
    """
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InputError(f"{where}: {column} '{text}' is not a number from 0 to 100")
    return value


def mapping(text: str, column: str, where: str) -> dict[str, Any]:
    """A JSON object; {} for an empty cell.

    Raises:
        InputError: Anything else.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{where}: {column} '{text}' is not a JSON object")
    return value


def choose(row: dict[str, Any], column: str, known: Any, where: str) -> None:
    """Refuse a value that is not among the known ones, with a suggestion."""
    if row[column] not in known:
        raise InputError(f"{where}: {column} '{row[column]}' is unknown.{suggest(row[column], sorted(known))}")


def _check(row: dict[str, Any], protocols: set[str], where: str) -> None:
    for column in _REQUIRED:
        if not row[column]:
            raise InputError(f"{where}: {column} is empty")
    for column, known in (
        ("protocol", protocols),
        ("dataset", BENCHMARKS),
        ("metric", MEASURES),
        ("support", SUPPORT),
    ):
        choose(row, column, known, where)
    if row["protocol"] == UNKNOWN and not row["protocol_reason"]:
        raise InputError(f"{where}: the protocol is unknown, so protocol_reason must say why")
