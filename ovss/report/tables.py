"""Frames as tables of a page: which columns are shown, how numbers are written, what can be filtered."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ovss.files.tables import interval_words
from ovss.provenance import protocol_words
from ovss.report.provenance import FACTS, Provenance

_SHOWN_FACTS = ("model", "pretrained", "dataset", "protocol", "method", "images", "support", "set_per_dataset")
"""Columns about the origin that a reader compares by; the others are one click away."""
_FILTERS = ("model", "pretrained", "dataset", "protocol", "method", "measure", "verdict")
_CONSTANT = (
    *("model", "pretrained", "dataset", "protocol", "support", "set_per_dataset", "images", "against", "machine"),
    "image_size",
)
"""Columns that are said once, not in every row, where all rows agree."""
_ROWS = 20
"""Rows of one table on a page; a longer one is cut and its file linked."""
_WIDE = 1.0
"""Width of an interval from which a second decimal says nothing."""


@dataclass(frozen=True)
class Cell:
    """One value of a table.

    Attributes:
        text: As it is shown.
        key: As it is sorted: a number, or lower-case text.
        numeric: Whether it is a number.
        link: Address of its provenance.
        note: Shown behind it in small print, such as an interval.
    """

    text: str
    key: str
    numeric: bool
    link: str | None = None
    note: str = ""

    @property
    def shows_other(self) -> bool:
        """Whether what is shown is not what it is sorted by, so that a page must have both."""
        if self.note:
            return True
        try:
            return float(self.text) != float(self.key)
        except ValueError:
            return self.text.lower() != self.key


@dataclass(frozen=True)
class TableView:
    """A table ready for its template.

    Attributes:
        id: Identifier within the page.
        title: Words of its name.
        caption: What the rows are.
        file: Its CSV file, relative to the report.
        columns: Headings; True marks a column of numbers.
        rows: Cells of each row.
        filters: Column number, heading and values of each filter.
        total: Rows of the file.
        same: Heading and value of the columns about the origin that are left out, because all rows agree in them.
    """

    id: str
    title: str
    caption: str
    file: str
    columns: list[tuple[str, bool]]
    rows: list[list[Cell]]
    filters: list[tuple[int, str, list[str]]]
    total: int
    same: list[tuple[str, str]]


def table_view(name: str, frame: pd.DataFrame, caption: str, file: str, provenance: Provenance) -> TableView:
    """Choose and format what a page shows of a frame.

    A column `x` with `x_low` and `x_high` beside it is shown as one, value and interval; a protocol with the first
    digits of its hash, where the frame has it.

    Args:
        name: Name of the table.
        frame: Its rows; `notebook` is the page of the notebook that made a row.
        caption: Its caption.
        file: Path of its CSV file.
        provenance: Where rows with identities are entered.
    """
    made, frame = frame, _in_words(frame)
    bounds = {f"{column}_{end}" for column in frame.columns for end in ("low", "high") if f"{column}_{end}" in frame}
    distinct = frame.nunique(dropna=False)
    same = [column for column in _CONSTANT if len(frame) > 1 and distinct.get(column) == 1]
    columns = [str(name) for name in frame.columns if name not in {*bounds, *same} and not _hidden(str(name), frame)]
    decimals = {column: _decimals(frame, column) for column in columns if _is_number(frame[column])}
    rows = []
    origins = made.head(_ROWS).to_dict("records")
    for row, origin in zip(frame.head(_ROWS).to_dict("records"), origins, strict=True):
        link = provenance.address(origin)
        rows.append([_cell(row, column, decimals.get(column), bounds, link) for column in columns])
    filters = []
    for number, column in enumerate(columns):
        values = list(dict.fromkeys(row[number].text for row in rows))
        if column in _FILTERS and 1 < len(values) <= 40 and len(frame) <= _ROWS:
            filters.append((number, _heading(column), values))
    headings = [(_heading(column), column in decimals) for column in columns]
    agreed = [(_heading(name), str(frame[name].iloc[0])) for name in same]
    return TableView(f"t-{name}", _heading(name), caption, file, headings, rows, filters, len(frame), agreed)


def _in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """Facts as they are shown."""
    words = {}
    if {"protocol", "protocol_hash"} <= set(frame):
        pairs = zip(frame["protocol"], frame["protocol_hash"], strict=True)
        words["protocol"] = [protocol_words(name, found) if isinstance(found, str) else name for name, found in pairs]
    if "set_per_dataset" in frame:
        words["set_per_dataset"] = [names or "none" for names in frame["set_per_dataset"]]
    return frame.assign(**words)


def _heading(name: str) -> str:
    """A column or table name as words."""
    return name.replace("_", " ")


def _is_number(column: object) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)  # pyright: ignore


def _hidden(column: str, frame: pd.DataFrame) -> bool:
    if column in _SHOWN_FACTS or column not in FACTS:
        return column.endswith("_hash") or (column not in FACTS and bool(pd.Series(frame[column]).isna().all()))
    return True


def _cell(row: dict[Any, Any], column: str, decimals: int | None, bounds: set[str], link: str | None) -> Cell:
    value = row[column]
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return Cell("n/a", "" if decimals is None else "-1e308", decimals is not None)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", str(int(value)), False)
    if decimals is None:
        return Cell(str(value), str(value).lower(), False)
    note = ""
    if f"{column}_low" in bounds and f"{column}_high" in bounds:
        note = interval_words(row[f"{column}_low"], row[f"{column}_high"], decimals)
    text = f"{value:.{decimals}f}"
    return Cell(text, repr(float(value)), True, None if column in _SHOWN_FACTS else link, note)


def _decimals(frame: pd.DataFrame, name: str) -> int:
    """Decimals that a column of numbers needs.

    None for counts, one where intervals are wide, two for percent, three for fractions.
    """
    column = pd.Series(frame[name])
    if pd.api.types.is_integer_dtype(column):
        return 0
    if f"{name}_low" in frame:
        widths: Any = (frame[f"{name}_high"] - frame[f"{name}_low"]).dropna()
        if len(widths) and widths.median() > _WIDE:
            return 1
    return 3 if column.abs().max() <= 1.5 else 2
