"""What a task's result depends on, as one digest: equal digests, nothing to do."""

import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import nbformat

from ovss.errors import InputError
from ovss.files import digest, file_digest
from ovss.provenance import code_hash
from ovss.provenance.sources import modules_used
from ovss.study.plan import Task

LIBRARIES = ("torch", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "pillow")
RUNNER = "ovss.study.execute"
"""What runs a notebook and writes its outputs."""


def notebook_sources(template: Path) -> list[str]:
    """Modules of this package that a notebook's code cells import, and the one that runs it."""
    cells = [cell.source for cell in nbformat.read(template, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for line in "\n".join(cells).splitlines() if not line.startswith(("%", "!"))]
    try:
        return [*modules_used("\n".join(lines)), RUNNER]
    except SyntaxError as error:
        raise InputError(f"{template}: a code cell is no Python: {error.msg}") from error


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}


def task_digest(task: Task, upstream: dict[str, str]) -> str:
    """Digest of everything that a task's outputs depend on.

    Args:
        task: The task.
        upstream: Digests of the tasks it reads from, by id.
    """
    notebook = nbformat.read(task.template, as_version=4)
    return digest(
        {
            "cells": [(cell.cell_type, cell.source) for cell in notebook.cells],
            "parameters": task.parameters,
            "code": code_hash(*notebook_sources(task.template)),
            "versions": versions(),
            "weights": _weights(task),
            "data": _data(task),
            "upstream": {name: upstream[name] for name in task.after},
        }
    )


def _weights(task: Task) -> str:
    pretrained = task.model.pretrained if task.model else ""
    return file_digest(pretrained) if pretrained and Path(pretrained).is_file() else pretrained


def _data(task: Task) -> str:
    if task.dataset is None:
        return ""
    return dataset_fingerprint(task.dataset.name, task.dataset.root, task.dataset.split)


@lru_cache(maxsize=64)
def dataset_fingerprint(name: str, root: str, split: str) -> str:
    """Fingerprint of a data set; for one that is not there, the reason."""
    from ovss.datasets import load_dataset

    try:
        return load_dataset(name, root=root or None, split=split).fingerprint
    except InputError as error:
        return f"not there: {error}"
