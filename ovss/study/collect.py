"""From the folders of tasks to the folder of the report: joined tables, figures, notebooks, one record of the run."""

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.files import atomic_write, digest
from ovss.lab.outputs import FIGURES, TABLES, TIMINGS, write_table
from ovss.study.config import StudyConfig
from ovss.study.digests import versions
from ovss.study.execute import NOTEBOOK
from ovss.study.plan import STATE, Task, heading
from ovss.study.sentinel import read_sentinel

RECORD = "run.json"
NOTEBOOKS, DATA = "notebooks", "data"
MANAGED = (TABLES, FIGURES, TIMINGS, DATA, NOTEBOOKS)
"""Folders of a report whose content belongs to the batch."""
JOINED = 3
"""Captions of a joined table that are written out one after the other."""


def collect(out: Path, config: StudyConfig, plan: Sequence[Task], digests: dict[str, str]) -> dict[str, Any]:
    """Bring together what the finished tasks wrote; files of earlier runs that no task wrote any more are removed.

    Args:
        out: Folder of the report.
        config: The study.
        plan: All its tasks, including those that have not run.
        digests: From `task_digests`.

    Returns:
        The record of the run, for `write_record`.
    """
    finished = [task for task in plan if (done := _done(out, task)) and done["digest"] == digests[task.id]]
    kept: dict[str, set[str]] = {kind: set() for kind in MANAGED}
    captions: dict[str, dict[str, Any]] = {kind: {} for kind in (TABLES, FIGURES, TIMINGS, DATA)}
    for kind in MANAGED:
        (out / kind).mkdir(parents=True, exist_ok=True)
    for kind in (TABLES, TIMINGS):
        for name, owners in _by_name(out, finished, kind).items():
            kept[kind] |= _join(out, kind, name, owners)
            told = list(dict.fromkeys(_captions(out, task)[kind][name]["caption"] for task in owners))
            captions[kind][name] = {
                "caption": " ".join(told) if len(told) <= JOINED else f"{told[0]} Likewise for {len(told) - 1} others.",
                "captions": told,
                "tasks": [task.id for task in owners],
            }
    for kind in (FIGURES, DATA):
        for name, owners in _by_name(out, finished, kind).items():
            for task in owners:
                unique = name + task.id.removeprefix(task.stem)
                for source in (out / STATE / task.id / kind).glob(f"{name}.*"):
                    _copy(source, out / kind / f"{unique}{source.suffix}")
                    kept[kind].add(f"{unique}{source.suffix}")
                captions[kind][unique] = _captions(out, task)[kind][name] | {"tasks": [task.id]}
    for task in finished:
        _copy(out / STATE / task.id / NOTEBOOK, out / NOTEBOOKS / f"{task.id}.ipynb")
        kept[NOTEBOOKS].add(f"{task.id}.ipynb")
    for kind in MANAGED:
        _prune(out / kind, kept[kind] | {f"{Path(name).stem}.html" for name in kept[kind] if kind == NOTEBOOKS})
    return _record(out, config, plan, digests, captions)


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, whose presence says that the run succeeded."""
    with atomic_write(out / RECORD, "w") as file:
        json.dump(record, file, indent=1, ensure_ascii=False)
        file.write("\n")


def _done(out: Path, task: Task) -> dict[str, Any] | None:
    return read_sentinel(out / STATE / task.id)


def _by_name(out: Path, tasks: Sequence[Task], kind: str) -> dict[str, list[Task]]:
    """Which tasks wrote an output of a name, in the order in which they wrote them."""
    owners: dict[str, list[Task]] = {}
    for task in tasks:
        for name in _captions(out, task).get(kind, {}):
            owners.setdefault(name, []).append(task)
    return owners


def _captions(out: Path, task: Task) -> dict[str, dict[str, Any]]:
    path = out / STATE / task.id / "captions.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _join(out: Path, kind: str, name: str, owners: Sequence[Task]) -> set[str]:
    if kind == TABLES:
        frames = [pd.read_parquet(out / STATE / task.id / kind / f"{name}.parquet") for task in owners]
        write_table(out / kind / name, pd.concat(frames, ignore_index=True))
        return {f"{name}.csv", f"{name}.parquet"}
    frames = [pd.read_csv(out / STATE / task.id / kind / f"{name}.csv") for task in owners]
    with atomic_write(out / kind / f"{name}.csv", "w", newline="") as file:
        pd.concat(frames, ignore_index=True).to_csv(file, index=False, lineterminator="\n")
    return {f"{name}.csv"}


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as reader, atomic_write(target) as writer:
        shutil.copyfileobj(reader, writer)


def _prune(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name not in keep:
            path.unlink()


def _record(
    out: Path,
    config: StudyConfig,
    plan: Sequence[Task],
    digests: dict[str, str],
    captions: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    tasks = []
    for task in plan:
        done = _done(out, task)
        current = done is not None and done["digest"] == digests[task.id]
        tasks.append(
            {
                "id": task.id,
                "title": heading(task.template),
                "notebook": f"{NOTEBOOKS}/{task.id}.ipynb" if current else None,
                "state": "done" if current else "not run",
                "seconds": done["seconds"] if done and current else None,
                "digest": digests[task.id],
                "parameters": task.parameters,
                "after": list(task.after),
            }
        )
    return {
        "study": config.name,
        "title": config.title,
        "description": config.description,
        "models": [asdict(spec) | {"label": spec.label} for spec in config.models],
        "datasets": [{key: value for key, value in asdict(spec).items() if key != "root"} for spec in config.datasets],
        "protocols": list(config.protocols),
        "methods": list(config.methods),
        "seeds": list(config.seeds),
        "ovss": metadata.version("ovss"),
        "versions": versions(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": config.threads,
        "captions": captions,
        "tasks": tasks,
        "digest": digest([digests, captions]),
    }
