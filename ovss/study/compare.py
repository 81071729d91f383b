"""Have the numbers of a report moved against a reference, further than another processor explains?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.errors import InputError
from ovss.lab.outputs import TABLES
from ovss.lab.precision import PIXELS, SHARE, Kind, kind_of
from ovss.report.provenance import FACTS

__all__ = ["compare_tables", "reference_tables"]

_COMPARED = ("method", "model", "dataset", "protocol", "images")
"""Columns about the origin that must agree for two rows to be the same row."""


def compare_tables(reference: Path, fresh: Path, tolerance: float | None = None) -> list[str]:
    """Compare the tables of two reports cell by cell.

    Rows belong together by their words and whole numbers, whatever their order. Columns that say what produced a row
    (hashes, versions) may differ.

    Args:
        reference: Folder of the report that is right.
        fresh: Folder of the report to compare; tables that only it has are left out.
        tolerance: Largest absolute difference of two numbers in percentage points, a tenth of it in columns within
            -1..1; None takes the bounds of `ovss.lab.precision`.

    Returns:
        One line per difference: table, row, column, both values. Empty when nothing moved.

    Raises:
        InputError: A folder holds no tables.
    """
    tables = reference_tables(reference)
    if not list((fresh / TABLES).glob("*.csv")):
        raise InputError(f"'{fresh / TABLES}' holds no tables to compare")
    lines: list[str] = []
    for path in tables:
        other = fresh / TABLES / path.name
        if not other.is_file():
            lines.append(f"{path.stem}: missing in {fresh}")
            continue
        lines += _compare(path.stem, pd.read_csv(path), pd.read_csv(other), tolerance)
    return lines


def reference_tables(reference: Path) -> list[Path]:
    """The tables of a report that others are compared with.

    Raises:
        InputError: There are none.
    """
    tables = sorted((reference / TABLES).glob("*.csv"))
    if not tables:
        raise InputError(f"'{reference / TABLES}' holds no tables to compare with")
    return tables


def _compare(name: str, reference: pd.DataFrame, fresh: pd.DataFrame, tolerance: float | None) -> list[str]:
    columns = [column for column in reference.columns if not _is_provenance(column)]
    missing = [column for column in columns if column not in fresh.columns]
    if missing:
        return [f"{name}: no column {', '.join(missing)}"]
    if len(reference) != len(fresh):
        return [f"{name}: {len(reference)} rows in the reference, {len(fresh)} now"]
    kinds = {column: kind_of(column, pd.Series(reference[column])) for column in columns}
    derived = {column for column in columns if pd.api.types.is_bool_dtype(reference[column])}
    identity = [column for column in columns if kinds[column] is None and column not in derived]
    ordered = [_by_identity(frame, identity) for frame in (reference, fresh)]
    lines = []
    for (row, old), (_, new) in zip(*(frame.iterrows() for frame in ordered), strict=True):
        for column in columns:
            if column in derived and tolerance is None:
                moved = old[column] != new[column] and not _near_zero(old, kinds)
            else:
                moved = _moved(old[column], new[column], _allowed(old, column, kinds[column], reference, tolerance))
            if moved:
                lines.append(f"{name}, row {row}, {column}: {old[column]} -> {new[column]}")
    return lines


def _by_identity(frame: pd.DataFrame, identity: list[str]) -> pd.DataFrame:
    """Rows in the order of what they are about; as they stand where that does not tell them apart."""
    if not identity:
        return frame
    keys = ["\0".join(map(str, row)) for row in frame[identity].itertuples(index=False)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return frame if len(set(keys)) < len(keys) else frame.iloc[order]


def _allowed(
    row: Mapping[Any, Any], column: str, kind: Kind | None, reference: pd.DataFrame, tolerance: float | None
) -> float:
    if tolerance is not None:
        values = pd.Series(reference[column])
        fractions = pd.api.types.is_float_dtype(values) and values.abs().max() <= 1
        return tolerance / 10 if fractions else tolerance
    if kind is None:
        return 0.0
    if {"truth_pixels", "predicted_pixels", "IoU"} <= set(reference.columns) and not pd.isna(row["IoU"]):
        union = (row["truth_pixels"] + row["predicted_pixels"]) / (1 + row["IoU"] / 100)
        moved = PIXELS + SHARE * union
        bounds = {"predicted_pixels": moved, "IoU": 100 * moved / max(union, 1)}
        bounds["accuracy"] = 100 * moved / max(row["truth_pixels"], 1)
        return kind.allowed(row[column], bounds.get(column))
    return kind.allowed(row[column])


def _near_zero(row: Mapping[Any, Any], kinds: Mapping[str, Kind | None]) -> bool:
    """Whether an end of an interval lies so near zero that what follows from its sign may change."""
    ends = {column: kind for column, kind in kinds.items() if kind and column.endswith(("_low", "_high"))}
    return any(abs(row[column]) <= kind.allowed(row[column]) for column, kind in ends.items())


def _moved(old: object, new: object, allowed: float) -> bool:
    if isinstance(old, float | int) and isinstance(new, float | int):
        return bool(pd.isna(old) != pd.isna(new)) or abs(old - new) > allowed
    return str(old) != str(new)


def _is_provenance(column: str) -> bool:
    """Whether a column says what produced a row and not what came out."""
    return column in FACTS and column not in _COMPARED
