"""Pages of the report, rendered from the tables, figures and notebooks of a run; needs no network and no kernel."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.report import RECORD
from ovss.report.notebook_page import notebook_body
from ovss.report.provenance import Provenance
from ovss.report.sections import explorer_images, explorer_maker, headlines, hero_figure, sections
from ovss.report.words import MEASURES, method_lines, protocol_lines

__all__ = ["build_site", "copy_file", "rebuild_site"]

_HERE = Path(__file__).parent
_ASSETS = ("style.css", "report.js", "explorer.js")


def build_site(out: Path, record: dict[str, Any], failures: Sequence[str] = ()) -> list[Path]:
    """Write `index.html` and its companions.

    Args:
        out: Folder of the report, with the folders that `collect` fills.
        record: The record of the run.
        failures: Descriptions of what failed; the pages say so at the top.

    Returns:
        The files written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    (out / "assets").mkdir(exist_ok=True)
    written = [copy_file(_HERE / "templates" / name, out / "assets" / name) for name in _ASSETS]
    provenance = Provenance()
    parts = sections(out, record, provenance)
    explorer = explorer_images(out, record)
    pages: dict[str, tuple[str, dict[str, Any]]] = {
        "index.html": (
            "index.html.j2",
            {
                "sections": parts,
                "headlines": headlines(record),
                "hero": hero_figure(record, parts),
                "measures": MEASURES,
                "methods": method_lines(record["methods"]),
                "protocols": protocol_lines(record.get("protocols", [])),
                "failures": failures,
            },
        ),
        "provenance.html": ("provenance.html.j2", {"provenance": provenance}),
    }
    if explorer:
        pages["explorer.html"] = ("explorer.html.j2", {"images": explorer, "maker": explorer_maker(record)})
    for task in record["tasks"]:
        if task["notebook"]:
            page = str(Path(task["notebook"]).with_suffix(".html"))
            pages[page] = ("notebook.html.j2", {"task": task, "body": notebook_body(out / task["notebook"])})
    for name, (template, values) in pages.items():
        root = "../" * name.count("/")
        text = environment.get_template(template).render(
            record=record, root=root, page=name, explorer=bool(explorer), **values
        )
        with atomic_write(out / name, "w") as file:
            file.write(text)
        written.append(out / name)
    return written


def rebuild_site(out: Path) -> list[Path]:
    """Render the pages of a finished run again, for instance after a change of the templates.

    Raises:
        InputError: The folder holds no finished run.
    """
    path = out / RECORD
    if not path.is_file():
        raise InputError(f"'{path}' is missing, so no run has finished there; 'ovss reproduce' makes one")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is damaged ({error}); 'ovss reproduce' writes it again") from error
    return build_site(out, record)


def copy_file(source: Path, target: Path) -> Path:
    """Copy a file, whole or not at all, and return the copy."""
    with open(source, "rb") as reader, atomic_write(target) as writer:
        shutil.copyfileobj(reader, writer)
    return target
