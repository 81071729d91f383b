"""From the folders of tasks to the folder of the report: joined tables, figures, notebooks, one record of the run."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.files import atomic_write, digest, file_digest, sealed_json
from ovss.lab.outputs import DATA, FIGURES, FINDINGS, TABLES, TIMINGS, write_csv, write_table
from ovss.provenance import library_versions
from ovss.report import RECORD
from ovss.report.site import copy_file
from ovss.study.config import StudyConfig
from ovss.study.execute import NOTEBOOK
from ovss.study.places import STATE
from ovss.study.plan import Task, heading

_NOTEBOOKS = "notebooks"
_REPORT_FOLDERS = (TABLES, FIGURES, TIMINGS, DATA, _NOTEBOOKS)
"""Folders of a report whose content belongs to the batch."""
_MAX_CAPTIONS = 3
"""Captions of a joined table that are written out one after the other."""


def collect(
    out: Path,
    config: StudyConfig,
    plan: Sequence[Task],
    finished: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Bring together what the finished tasks wrote; files of earlier runs that no task writes any more are removed.

    Args:
        out: Folder of the report.
        config: The study.
        plan: All its tasks, including those that have not run.
        finished: What each finished task wrote last, from `run_tasks`.

    Returns:
        The record of the run, for `write_record`.
    """
    tasks = [task for task in plan if task.id in finished]
    notes = {task.id: _captions(out, task) for task in tasks}
    captions: dict[str, dict[str, Any]] = {kind: {} for kind in (FINDINGS, TABLES, FIGURES, TIMINGS, DATA)}
    written: dict[str, set[str]] = {kind: set() for kind in _REPORT_FOLDERS}
    for kind in _REPORT_FOLDERS:
        (out / kind).mkdir(parents=True, exist_ok=True)
    for kind in captions:
        for name in dict.fromkeys(name for task in tasks for name in notes[task.id].get(kind, ())):
            owners = [task for task in tasks if name in notes[task.id].get(kind, ())]
            if kind in (TABLES, TIMINGS):
                written[kind] |= {f"{name}.csv", f"{name}.parquet"} if kind == TABLES else {f"{name}.csv"}
                captions[kind][name] = _joined_caption([notes[task.id][kind][name]["caption"] for task in owners])
                captions[kind][name]["tasks"] = [task.id for task in owners]
                captions[kind][name]["rows"] = _join(out, kind, name, owners)
                continue
            for task in owners:
                unique = name + task.id.removeprefix(task.stem)
                for source in () if kind == FINDINGS else (out / STATE / task.id / kind).glob(f"{name}.*"):
                    written[kind].add(copy_file(source, out / kind / f"{unique}{source.name.removeprefix(name)}").name)
                captions[kind][unique] = notes[task.id][kind][name] | {"tasks": [task.id]}
    for task in tasks:
        copy_file(out / STATE / task.id / NOTEBOOK, out / _NOTEBOOKS / f"{task.id}.ipynb")
        written[_NOTEBOOKS] |= {f"{task.id}.ipynb", f"{task.id}.html"}
    for kind in _REPORT_FOLDERS:
        for path in (out / kind).iterdir():
            if path.is_file() and path.name not in written[kind]:
                path.unlink()
    return _record(config, plan, finished, captions)


def write_record(out: Path, record: dict[str, Any], pages: Sequence[Path]) -> None:
    """Write `run.json`, whose presence says that the run succeeded, with the checksums of all other files.

    Args:
        out: Folder of the report.
        record: From `collect`.
        pages: Files of the site.
    """
    files = {path for kind in _REPORT_FOLDERS for path in (out / kind).iterdir() if path.is_file()} | set(pages)
    checksums = {path.relative_to(out).as_posix(): file_digest(path) for path in sorted(files)}
    with atomic_write(out / RECORD) as file:
        file.write(sealed_json(record | {"files": checksums}))


def _captions(out: Path, task: Task) -> dict[str, dict[str, Any]]:
    path = out / STATE / task.id / "captions.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _joined_caption(captions: Sequence[str]) -> dict[str, Any]:
    texts = list(dict.fromkeys(captions))
    rest = f" Likewise for {len(texts) - 1} others."
    return {"caption": " ".join(texts) if len(texts) <= _MAX_CAPTIONS else texts[0] + rest, "captions": texts}


def _join(out: Path, kind: str, name: str, owners: Sequence[Task]) -> list[int]:
    """Write one table from the rows of several tasks; returns how many rows each of them gave."""
    folders = [out / STATE / task.id / kind for task in owners]
    if kind == TABLES:
        frames = [pd.read_parquet(folder / f"{name}.parquet") for folder in folders]
        write_table(out / kind / name, pd.concat(frames, ignore_index=True))
    else:
        frames = [pd.read_csv(folder / f"{name}.csv") for folder in folders]
        write_csv(out / kind / f"{name}.csv", pd.concat(frames, ignore_index=True))
    return [len(frame) for frame in frames]


def _record(
    config: StudyConfig,
    plan: Sequence[Task],
    finished: Mapping[str, dict[str, Any]],
    captions: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    versions = library_versions(shown=True)
    return {
        "study": config.name,
        "title": config.title,
        "description": config.description,
        "models": [asdict(spec) | {"label": spec.label} for spec in config.models],
        "datasets": [{key: value for key, value in asdict(spec).items() if key != "root"} for spec in config.datasets],
        "protocols": list(config.protocols),
        "methods": list(config.methods),
        "seeds": list(config.seeds),
        "ovss": versions["ovss"],
        "versions": versions,
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": config.threads,
        "captions": captions,
        "tasks": [
            {
                "id": task.id,
                "title": heading(task.template),
                "notebook": f"{_NOTEBOOKS}/{task.id}.ipynb" if task.id in finished else None,
                "state": "done" if task.id in finished else "not run",
                "seconds": finished[task.id]["seconds"] if task.id in finished else None,
                "digest": task.digest,
                "parameters": task.parameters,
                "after": [before.id for before in task.after],
            }
            for task in plan
        ],
        "digest": digest([{task.id: task.digest for task in plan}, captions]),
    }
