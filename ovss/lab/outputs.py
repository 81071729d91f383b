"""What a study notebook leaves behind: tables, figures with captions, timings."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd

from ovss.errors import InputError
from ovss.figures.dark import darkened
from ovss.figures.style import RC, Plot
from ovss.files import atomic_write
from ovss.images.png import compact_png
from ovss.lab.precision import rounded
from ovss.provenance import as_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ovss.evaluation import Evaluation

__all__ = [
    "DATA",
    "FIGURES",
    "FINDINGS",
    "TABLES",
    "TIMINGS",
    "DisplayedFigure",
    "Finding",
    "Outputs",
    "run_facts",
    "slug",
    "write_csv",
    "write_table",
]

TABLES, FIGURES, TIMINGS, DATA, FINDINGS = "tables", "figures", "timings", "data", "findings"


class Outputs:
    """Files of one notebook, each with the caption that the report prints.

    Tables hold only what a second run reproduces to the byte; seconds and bytes of memory go to `timing`.

    Args:
        folder: Where to write; empty writes nothing, so that a notebook opened by hand leaves no files behind.
    """

    def __init__(self, folder: str | Path = "") -> None:
        self.folder = Path(folder) if str(folder) else None

    def table(self, name: str, frame: pd.DataFrame, caption: str) -> pd.DataFrame:
        """Write `tables/<name>.csv` and `.parquet`.

        Args:
            name: File name without suffix; notebooks that write the same name are joined row by row.
            frame: Tidy rows; numbers are written to the digits that they mean, see `ovss.lab.precision`.
            caption: What the rows are, in a sentence made from the data.

        Returns:
            The frame, so that a cell can end with this call.
        """
        if self.folder is not None:
            write_table(self._file(TABLES, name, ""), rounded(frame))
            self._note(TABLES, name, {"caption": caption})
        return frame

    def timing(self, name: str, frame: pd.DataFrame, caption: str) -> pd.DataFrame:
        """Write `timings/<name>.csv`: measurements of this machine, which no second run repeats exactly."""
        if self.folder is not None:
            write_csv(self._file(TIMINGS, name, ".csv"), frame)
            self._note(TIMINGS, name, {"caption": caption})
        return frame

    def figure(self, name: str, figure: "Plot | Figure", caption: str, alt: str) -> "DisplayedFigure":
        """Write `figures/<name>.png` and `.svg`, without dates, and `.dark.png` for a dark page.

        Args:
            name: File name without suffix, unique within the study.
            figure: What to draw.
            caption: What the figure shows, in a sentence made from the data.
            alt: The same for a reader who cannot see it: kind of figure, axes, the main finding.

        Returns:
            What a cell that ends with this call shows: the figure, with `alt` as its text.
        """
        drawn = figure.figure if isinstance(figure, Plot) else figure
        if self.folder is not None:
            for ending, dots in ((".png", 160), (".svg", 72)):
                with atomic_write(self._file(FIGURES, name, ending)) as file:
                    file.write(_drawn(drawn, ending[1:], dots))
            with darkened(drawn), atomic_write(self._file(FIGURES, name, ".dark.png")) as file:
                file.write(_drawn(drawn, "png", 160))
            self._note(FIGURES, name, {"caption": caption, "alt": alt})
        return DisplayedFigure(drawn, alt)

    def data(self, name: str, value: Any, caption: str) -> None:
        """Write `data/<name>.json`: what an interactive part of the report reads."""
        if self.folder is not None:
            with atomic_write(self._file(DATA, name, ".json"), "w") as file:
                json.dump(value, file, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self._note(DATA, name, {"caption": caption})

    def finding(self, name: str, text: str, *, headline: bool = False) -> "Finding":
        """Note the answer to a question of the notebook, for the report to open its section with.

        Args:
            name: Unique within the notebook.
            text: A sentence made from the data, with its number and interval.
            headline: Whether it also stands at the top of the report.

        Returns:
            What a cell that ends with this call shows: the sentence.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._note(FINDINGS, name, {"caption": text, "headline": headline})
        return Finding(text)

    def _file(self, kind: str, name: str, ending: str) -> Path:
        assert self.folder is not None
        if not name.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"output name {name!r} must be letters, digits, '-' and '_'")
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}{ending}"

    def _note(self, kind: str, name: str, note: dict[str, Any]) -> None:
        assert self.folder is not None
        path = self.folder / "captions.json"
        captions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        captions.setdefault(kind, {})[name] = note
        with atomic_write(path, "w") as file:
            json.dump(captions, file, indent=1, ensure_ascii=False)


@dataclass(frozen=True)
class DisplayedFigure:
    """A figure as the output of a cell.

    Attributes:
        figure: The figure.
        alt: Its text for readers who cannot see it.
    """

    figure: "Figure"
    alt: str

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": _drawn(self.figure, "png", 100), "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


@dataclass(frozen=True)
class Finding:
    """A sentence as the output of a cell."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"**{self.text}**"


def _drawn(figure: "Figure", format: str, dots: int) -> bytes:
    """A figure as the bytes of a file; equal figures give equal bytes."""
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format=format, dpi=dots, metadata=metadata)
    return buffer.getvalue() if format == "svg" else compact_png(buffer.getvalue())


def write_table(stem: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV and Parquet next to each other; the same frame gives the same bytes.

    Args:
        stem: Path without suffix.
        frame: Rows; the index is not written.
    """
    write_csv(stem.with_name(stem.name + ".csv"), frame)
    with atomic_write(stem.with_name(stem.name + ".parquet")) as file:
        frame.to_parquet(file, index=False, compression="zstd")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV without its index; the same frame gives the same bytes."""
    with atomic_write(path, "w", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def run_facts(evaluation: "Evaluation") -> pd.DataFrame:
    """What an evaluation was made from, as one row of the table `runs`; rows of other tables refer to it by `key`."""
    return pd.DataFrame([as_columns(evaluation.facts) | {"images": len(evaluation.ids)}])


def slug(text: str) -> str:
    """A text as part of a file name: lower case, other characters than letters, digits and '-' become '-'."""
    cleaned = "".join(char if char.isalnum() and char.isascii() else "-" for char in text.lower())
    return "-".join(part for part in cleaned.split("-") if part)
