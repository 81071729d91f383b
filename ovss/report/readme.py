"""The README's results, rendered from the tables of a report, so that no number in it is typed."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.files.tables import to_markdown, with_interval
from ovss.provenance import protocol_words

__all__ = ["render_readme"]

_BEGIN, _END = "<!-- results:begin -->", "<!-- results:end -->"


def render_readme(readme: Path, report: Path, write: bool = True) -> bool:
    """Put the results table between the markers of a Markdown file.

    Args:
        readme: The file; it has a line with each marker.
        report: Folder of a finished run.
        write: Whether to change the file, or only to compare.

    Returns:
        Whether the file was, or would be, changed.

    Raises:
        InputError: The file or the report's tables are missing, or the file lacks the markers.
    """
    if not readme.is_file():
        raise InputError(f"'{readme}' does not exist")
    text = readme.read_text(encoding="utf-8")
    if text.count(_BEGIN) != 1 or text.count(_END) != 1 or text.index(_BEGIN) > text.index(_END):
        raise InputError(f"'{readme}' must have one line '{_BEGIN}' and, below it, one line '{_END}'")
    head, rest = text.split(_BEGIN)
    tail = rest.split(_END)[1]
    fresh = f"{head}{_BEGIN}\n{results_markdown(report)}{_END}{tail}"
    if fresh == text:
        return False
    if write:
        with atomic_write(readme, "w") as file:
            file.write(fresh)
    return True


def results_markdown(report: Path) -> str:
    """The results of a report as Markdown: a sentence, then a table, best method first, with 95 % intervals.

    Args:
        report: Folder of a finished run.

    Raises:
        InputError: It holds no results.
    """
    table, record = report / "tables" / "results.parquet", report / "run.json"
    if not table.is_file() or not record.is_file():
        raise InputError(f"'{report}' holds no finished run with results; 'ovss reproduce' makes one")
    results = pd.read_parquet(table)
    captions = json.loads(record.read_text(encoding="utf-8"))["captions"]["tables"]
    parts = [*captions["results"]["captions"], ""]
    if "protocol_hash" in results:
        pairs = zip(results["protocol"], results["protocol_hash"], strict=True)
        results = results.assign(protocol=[protocol_words(*pair) for pair in pairs])
    groups: Any = results.groupby(["model", "pretrained", "dataset", "protocol"], sort=False)
    for (model, pretrained, dataset, protocol), rows in groups:
        rows = rows.sort_values("mIoU", ascending=False, kind="stable")
        if len(groups) > 1:
            parts += [f"`{model}` ({pretrained}) on `{dataset}`, protocol `{protocol}`:", ""]
        shown = pd.DataFrame({"method": [f"`{name}`" for name in rows["method"]]})
        for name in ("mIoU", "mAcc", "pAcc"):
            numbers = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
            shown[name] = [with_interval(*values) for values in numbers]
        parts.append(to_markdown(shown))
    return "\n".join(parts).rstrip("\n") + "\n"
