"""Tables as people pass them on: CSV with stable diffs, Markdown, LaTeX, JSON, text for the terminal.

pandas is imported by those who have a table of it, so that `text_table` costs a command no time.
"""

import html
import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovss.errors import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "html_table",
    "interval_words",
    "text_table",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
    "with_interval",
]

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}

_TOO_FEW = "too few images for an interval"


def to_csv(table: "pd.DataFrame", decimals: int = 4) -> str:
    """Comma-separated values with a fixed number of decimals, so that equal results are equal files.

    Args:
        table: Columns of any type; the index is left out.
        decimals: Of floating-point cells.
    """
    return _as_text(table, decimals, missing="").to_csv(index=False, lineterminator="\n")


def to_markdown(table: "pd.DataFrame", decimals: int = 2) -> str:
    """A pipe table; numbers to the right, vertical bars in cells escaped.

    `DataFrame.to_markdown` pads every cell to the width of its column, so one new row would change all of them.
    """
    cells = _as_text(table, decimals).map(lambda cell: cell.replace("|", r"\|").replace("\n", " "))
    head = [str(column).replace("|", r"\|") for column in table.columns]
    rule = ["---:" if number else "---" for number in _are_numbers(table)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *cells.to_numpy()))


def to_latex(table: "pd.DataFrame", decimals: int = 2) -> str:
    """A `tabular` in booktabs style, with every character that LaTeX reads as a command escaped."""
    cells = _as_text(table, decimals).map(_escape).rename(columns=lambda name: _escape(str(name)))
    columns = "".join("r" if number else "l" for number in _are_numbers(table))
    return cells.to_latex(index=False, escape=False, column_format=columns)


def to_json(table: "pd.DataFrame") -> str:
    """A list of objects, one per row; numbers in full, missing ones as null.

    `DataFrame.to_json` rounds numbers to at most 15 decimals, so what is read back would differ.
    """
    rows = table.rename(columns=str).to_dict("records")
    plain = [{name: None if _is_missing(value) else value for name, value in row.items()} for row in rows]
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text with aligned columns, for the terminal; control characters of names are shown.

    Example:
        >>> print(text_table([("method", "venue"), ("naclip", "WACV 2025")]))
        method  venue
        naclip  WACV 2025
    """
    shown = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown)
    return "\n".join(line.rstrip() for line in padded)


def html_table(caption: str, rows: Sequence[Sequence[str]], swatches: Sequence[Sequence[int]] = ()) -> str:
    """Rows as a table for a notebook; everything is escaped.

    Args:
        caption: Stands above.
        rows: The first one is the head.
        swatches: A colour (red, green, blue) per row below the head.
    """
    head, *body = [[html.escape(printable(cell)) for cell in row] for row in rows]
    for cells, colour in zip(body, swatches, strict=False):
        cells[0] = f'<span style="color:rgb({",".join(map(str, colour))})">&#9632;</span> {cells[0]}'
    lines = [f"<table><caption>{html.escape(caption)}</caption>"]
    lines += ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for cells in body]
    return "\n".join([*lines, "</table>"])


def with_interval(value: float, low: float, high: float, decimals: int = 1) -> str:
    """ "54.3 [52.1, 56.6]", the form in which no number stands without its interval; without ends it says why."""
    if math.isnan(low) or math.isnan(high):
        return f"{value:.{decimals}f} [{_TOO_FEW}]"
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
        return _TOO_FEW
    return f"{low:{sign}.{decimals}f} to {high:{sign}.{decimals}f}"


def _as_text(table: "pd.DataFrame", decimals: int, missing: str = "-") -> "pd.DataFrame":
    def cell(value: Any) -> str:
        if _is_missing(value):
            return missing
        return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

    return table.astype(object).map(cell)


def _are_numbers(table: "pd.DataFrame") -> list[bool]:
    from pandas.api.types import is_numeric_dtype

    return [is_numeric_dtype(kind) for kind in table.dtypes]


def _is_missing(value: Any) -> bool:
    from pandas import NA

    return value is None or value is NA or (isinstance(value, float) and math.isnan(value))


def _escape(cell: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match.group()], cell)
