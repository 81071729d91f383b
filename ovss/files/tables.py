"""Tables as people pass them on: CSV with stable diffs, Markdown, LaTeX, JSON."""

import csv
import io
import json
import math
import re
from typing import Any

import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}

TOO_FEW = "too few images for an interval"


def to_csv(table: pd.DataFrame, decimals: int = 4) -> str:
    """Comma-separated values with a fixed number of decimals, so that equal results are equal files.

    Args:
        table: Columns of any type; the index is left out.
        decimals: Of floating-point cells.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_cell(value, decimals, missing="") for value in row] for row in _rows(table))
    return buffer.getvalue()


def to_markdown(table: pd.DataFrame, decimals: int = 2) -> str:
    """A pipe table; numbers to the right, vertical bars in cells escaped."""
    body = [[_cell(value, decimals).replace("|", r"\|").replace("\n", " ") for value in row] for row in _rows(table)]
    head = [str(column).replace("|", r"\|") for column in table.columns]
    rule = ["---:" if pd.api.types.is_numeric_dtype(table[column]) else "---" for column in table.columns]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))


def to_latex(table: pd.DataFrame, decimals: int = 2) -> str:
    """A `tabular` in booktabs style, with every character that LaTeX reads as a command escaped."""
    columns = "".join("r" if pd.api.types.is_numeric_dtype(table[column]) else "l" for column in table.columns)
    lines = [r"\begin{tabular}{" + columns + "}", r"\toprule", _latex_row(map(str, table.columns)), r"\midrule"]
    lines += [_latex_row(_cell(value, decimals) for value in row) for row in _rows(table)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_json(table: pd.DataFrame) -> str:
    """A list of objects, one per row; numbers in full, missing ones as null."""
    records = [dict(zip(map(str, table.columns), row, strict=True)) for row in _rows(table)]
    plain = [{name: None if _is_missing(value) else value for name, value in record.items()} for record in records]
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def with_interval(value: float, low: float, high: float, decimals: int = 1) -> str:
    """ "54.3 [52.1, 56.6]", the form in which no number stands without its interval; without ends it says why."""
    if math.isnan(low) or math.isnan(high):
        return f"{value:.{decimals}f} [{TOO_FEW}]"
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def interval_words(low: float, high: float, decimals: int = 1, sign: str = "") -> str:
    """ "52.1 to 56.6" for running text; without ends it says why.

    Args:
        low: Lower end, NaN where there is none.
        high: Upper end.
        decimals: Of both.
        sign: "+" to write the sign of differences.
    """
    if math.isnan(low) or math.isnan(high):
        return TOO_FEW
    return f"{low:{sign}.{decimals}f} to {high:{sign}.{decimals}f}"


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = [table[column].tolist() for column in table.columns]  # native Python numbers
    return list(zip(*columns, strict=True))


def _cell(value: Any, decimals: int, missing: str = "-") -> str:
    if _is_missing(value):
        return missing
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _latex_row(cells: Any) -> str:
    escaped = (re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match.group()], cell) for cell in cells)
    return " & ".join(escaped) + r" \\"
