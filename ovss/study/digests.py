"""What a task's result depends on, as one digest, and which results are there and still depend on the same."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from ovss.errors import InputError
from ovss.files import digest, file_digest
from ovss.provenance import code_hash, library_versions
from ovss.provenance.sources import modules_used
from ovss.study.config import DatasetSpec
from ovss.study.execute import SENTINEL
from ovss.study.plan import STATE, Task

_RUNNER = "ovss.study.execute"
"""What runs a notebook and writes its outputs."""


def task_digests(tasks: Sequence[Task]) -> dict[str, str]:
    """Digest of everything that a task's outputs depend on, by the task's id.

    Args:
        tasks: In the order of `plan_study`: each follows those that it reads from.
    """
    digests: dict[str, str] = {}
    for task in tasks:
        inputs = {
            "cells": [(cell.cell_type, cell.source) for cell in nbformat.read(task.template, as_version=4).cells],
            "parameters": task.parameters,
            "code": code_hash(*notebook_sources(task.template)),
            "versions": library_versions(shown=True),
            "weights": _weights(task),
            "data": _fingerprint(task.dataset) if task.dataset else "",
            "upstream": {name: digests[name] for name in task.after},
        }
        digests[task.id] = digest(inputs)
    return digests


def finished_tasks(out: Path, tasks: Sequence[Task], digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What each finished task wrote last, by id: its outputs are there, unchanged, and made from the present inputs.

    Every output is hashed for that, so the answer is passed on and not asked for again.

    Args:
        out: Folder of the report.
        tasks: Tasks that may have finished.
        digests: From `task_digests`.
    """
    read = {task.id: _read_sentinel(out / STATE / task.id, digests[task.id]) for task in tasks}
    return {name: done for name, done in read.items() if done is not None}


def _read_sentinel(folder: Path, expected: str) -> dict[str, Any] | None:
    path = folder / SENTINEL
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if done is None or done["digest"] != expected:
        return None
    files = {folder / name: checksum for name, checksum in done["files"].items()}
    unchanged = all(file.is_file() and file_digest(file) == checksum for file, checksum in files.items())
    return done if unchanged else None


def notebook_sources(template: Path) -> list[str]:
    """Modules of this package that a notebook's code cells import, and the one that runs it."""
    cells = [cell.source for cell in nbformat.read(template, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for line in "\n".join(cells).splitlines() if not line.startswith(("%", "!"))]
    try:
        return [*modules_used("\n".join(lines)), _RUNNER]
    except SyntaxError as error:
        raise InputError(f"{template}: a code cell is not Python: {error.msg}") from error


def _weights(task: Task) -> str:
    pretrained = task.model.pretrained if task.model else ""
    return file_digest(pretrained) if pretrained and Path(pretrained).is_file() else pretrained


@cache
def _fingerprint(spec: DatasetSpec) -> str:
    """Fingerprint of a data set; for one that is not there, the reason."""
    from ovss.datasets import load_dataset

    try:
        return load_dataset(spec.name, root=spec.root or None, split=spec.split).fingerprint
    except InputError as error:
        return f"not there: {error}"
