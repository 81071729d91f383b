"""What the pages show: one section per kind of notebook, each with its figures, tables and executed copies."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from ovss.errors import InputError
from ovss.report.provenance import Provenance
from ovss.report.tables import TableView, table_view

_WIDTH = 1100
"""Pixels of a figure that is a little wider than most."""
_MORE = 2
"""Findings at the top of the report beside the results."""
RUNS = "runs"
"""Table of evaluations; it is shown on the page of origins."""


@dataclass(frozen=True)
class FigureView:
    """A figure with its words; paths are relative to the report, sizes in pixels; `dark` is empty in older runs."""

    id: str
    png: str
    dark: str
    svg: str
    caption: str
    alt: str
    width: int
    height: int

    @property
    def tall(self) -> bool:
        """Whether half of a page is too narrow for it."""
        return self.height > 0.6 * self.width

    @property
    def wide(self) -> bool:
        """Whether it was drawn wider than others, so that its words are smaller when it is as wide as they are."""
        return self.width > _WIDTH


@dataclass(frozen=True)
class Section:
    """One question of the study.

    Attributes:
        id: Identifier within the page.
        title: Heading of its notebook.
        findings: Answers to its question, sentences with their numbers.
        tables: Tables, in the order of their names.
        figures: Figures, likewise.
        notebooks: Title and page of each executed copy.
        missing: Tasks of this kind that have not run.
    """

    id: str
    title: str
    findings: list[str]
    tables: list[TableView]
    figures: list[FigureView]
    notebooks: list[tuple[str, str]]
    missing: list[str]


def sections(out: Path, record: dict[str, Any], provenance: Provenance) -> list[Section]:
    """Sections in the order of the notebooks, the one with the results table first.

    Args:
        out: Folder of the report.
        record: The record of the run.
        provenance: Where the origin of numbers is entered.
    """
    _add_runs(out, record, provenance)
    stems = list(dict.fromkeys(task["id"].split("--")[0] for task in record["tasks"]))
    parts = [_section(out, record, stem, provenance) for stem in stems]
    return sorted(parts, key=lambda section: not any(table.id == "t-results" for table in section.tables))


def headlines(record: dict[str, Any]) -> list[str]:
    """Findings that stand at the top of the report, each once, in the order of the sections; the results come first.

    Two more follow them; the others open their sections.
    """
    notes = record["captions"].get("findings", {}).values()
    results = record["captions"]["tables"].get("results", {}).get("captions", [])
    found = [note["caption"] for note in notes if note.get("headline")]
    return list(dict.fromkeys([*results, *found]))[: max(1, len(results)) + _MORE]


def hero_figure(record: dict[str, Any], parts: Sequence[Section]) -> FigureView | None:
    """The label maps shown beside the findings: the figure that the README shows, too."""
    names = [f"f-{name}" for name in record["captions"]["figures"] if name.startswith("readme")]
    return next((figure for part in parts for figure in part.figures if figure.id in names[:1]), None)


def explorer_images(out: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Images of the attention explorer, from the data files called `explorer...`."""
    images: list[dict[str, Any]] = []
    for name in record["captions"]["data"]:
        if name.startswith("explorer"):
            images += json.loads((out / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return images


def explorer_maker(record: dict[str, Any]) -> str:
    """Task that wrote the explorer's first data file; only for records whose `explorer_images` are not empty."""
    return next(note["tasks"][0] for name, note in record["captions"]["data"].items() if name.startswith("explorer"))


def _section(out: Path, record: dict[str, Any], stem: str, provenance: Provenance) -> Section:
    tasks = [task for task in record["tasks"] if task["id"].split("--")[0] == stem]
    captions, ids = record["captions"], {task["id"] for task in tasks}
    tables = []
    for kind in ("tables", "timings"):
        for name, note in captions[kind].items():
            if name == RUNS or not ids & set(note["tasks"]):
                continue
            file = f"{kind}/{name}.csv"
            frame = pd.read_parquet(out / kind / f"{name}.parquet") if kind == "tables" else pd.read_csv(out / file)
            frame = _with_notebooks(frame, note)
            if name == "results":
                frame = frame.sort_values("mIoU", ascending=False, kind="stable")
            tables.append(table_view(name, frame, note["caption"], file, provenance))
    figures = [_figure(out, name, note) for name, note in captions["figures"].items() if ids & set(note["tasks"])]
    notebooks = [(_copy_title(task, stem), f"notebooks/{task['id']}.html") for task in tasks if task["notebook"]]
    missing = [task["id"] for task in tasks if not task["notebook"]]
    # What stands at the top of the report is the answer to the section's question; the others add to it.
    notes = sorted(captions.get("findings", {}).values(), key=lambda note: not note.get("headline"))
    findings = [note["caption"] for note in notes if ids & set(note["tasks"])]
    return Section(f"s-{stem}", tasks[0]["title"], list(dict.fromkeys(findings)), tables, figures, notebooks, missing)


def _add_runs(out: Path, record: dict[str, Any], provenance: Provenance) -> None:
    if RUNS not in record["captions"]["tables"]:
        return
    frame = pd.read_parquet(out / "tables" / f"{RUNS}.parquet")
    for row in _with_notebooks(frame, record["captions"]["tables"][RUNS]).to_dict("records"):
        provenance.add_run(row)


def _with_notebooks(frame: pd.DataFrame, note: dict[str, Any]) -> pd.DataFrame:
    """A joined table with the page of the notebook that each row comes from; its tasks wrote one after the other."""
    rows = note.get("rows", [len(frame)] if len(note["tasks"]) == 1 else [])
    if sum(rows) != len(frame) or len(rows) != len(note["tasks"]):
        raise InputError("run.json does not say which rows of a table a notebook wrote; run 'ovss reproduce' again")
    pages = [f"notebooks/{task}.html" for task in note["tasks"]]
    return frame.assign(notebook=[page for page, count in zip(pages, rows, strict=True) for _ in range(count)])


def _figure(out: Path, name: str, note: dict[str, Any]) -> FigureView:
    png, dark, svg = (f"figures/{name}{ending}" for ending in (".png", ".dark.png", ".svg"))
    dark = dark if (out / dark).is_file() else ""
    with Image.open(out / png) as image:
        return FigureView(f"f-{name}", png, dark, svg, note["caption"], note["alt"], *image.size)


def _copy_title(task: dict[str, Any], stem: str) -> str:
    return task["id"].removeprefix(stem).strip("-").replace("--", ", ") or "executed notebook"
