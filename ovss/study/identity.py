"""What a task's result depends on, as one digest: equal digests, nothing to do."""

import hashlib
import json
import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat

import ovss
from ovss.errors import InputError
from ovss.files import digest, file_digest
from ovss.study.plan import Task

LIBRARIES = ("torch", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "pillow")
_APART = ("study", "report", "cli.py", "app.py", "doctor.py")
_USED = (("study", "outputs.py"), ("study", "figures.py"))
SENTINEL = "done.json"


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the package's files that can change a number: not the batch, the report or the command line."""
    root = Path(ovss.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if not path.is_file() or "__pycache__" in parts:
            continue
        if parts[0] in _APART and parts not in _USED:
            continue
        total.update("/".join(parts).encode() + bytes.fromhex(file_digest(path)))
    return total.hexdigest()


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
            "code": code_digest(),
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


def read_sentinel(folder: Path) -> dict[str, Any] | None:
    """What a finished task wrote last; None when it has not finished or one of its files is gone or changed."""
    path = folder / SENTINEL
    if not path.is_file():
        return None
    done = json.loads(path.read_text(encoding="utf-8"))
    for name, expected in done["files"].items():
        file = folder / name
        if not file.is_file() or file_digest(file) != expected:
            return None
    return done
