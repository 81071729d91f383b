"""Have the numbers of a report moved against a reference?"""

from pathlib import Path

import pandas as pd

from ovss.errors import InputError
from ovss.report.provenance import FACTS
from ovss.study.outputs import TABLES

COMPARED = ("method", "model", "dataset", "protocol", "images")
"""Columns about the origin that must agree for two rows to be the same row."""


def compare_tables(reference: Path, fresh: Path, tolerance: float) -> list[str]:
    """Compare the tables of two reports cell by cell.

    Columns that say what produced a row (hashes, versions) may differ. Columns of fractions, whose values are all
    within -1..1, are held to a tenth of the tolerance.

    Args:
        reference: Folder of the report that is right.
        fresh: Folder of the report to judge; tables that only it has are not compared.
        tolerance: Largest absolute difference of two numbers, in percentage points.

    Returns:
        One line per difference: table, row, column, both values. Empty when nothing moved.

    Raises:
        InputError: A folder holds no tables.
    """
    tables = sorted((reference / TABLES).glob("*.csv"))
    if not tables:
        raise InputError(f"'{reference / TABLES}' holds no tables to compare with")
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


def _compare(name: str, reference: pd.DataFrame, fresh: pd.DataFrame, tolerance: float) -> list[str]:
    columns = [column for column in reference.columns if not is_provenance(column)]
    missing = [column for column in columns if column not in fresh.columns]
    if missing:
        return [f"{name}: no column {', '.join(missing)}"]
    if len(reference) != len(fresh):
        return [f"{name}: {len(reference)} rows in the reference, {len(fresh)} now"]
    lines = []
    for column in columns:
        allowed = _tolerance(pd.Series(reference[column]), tolerance)
        for row, (old, new) in enumerate(zip(reference[column], fresh[column], strict=True)):
            if _moved(old, new, allowed):
                lines.append(f"{name}, row {row}, {column}: {old} -> {new}")
    return lines


def _tolerance(column: pd.Series, tolerance: float) -> float:
    fractions = pd.api.types.is_float_dtype(column) and column.abs().max() <= 1
    return tolerance / 10 if fractions else tolerance


def _moved(old: object, new: object, tolerance: float) -> bool:
    if isinstance(old, float | int) and isinstance(new, float | int):
        return bool(pd.isna(old) != pd.isna(new)) or abs(old - new) > tolerance
    return str(old) != str(new)


def is_provenance(column: str) -> bool:
    """Whether a column says what produced a row and not what came out."""
    return column in FACTS and column not in COMPARED
