"""Execute one notebook: read `task.json`, print a line of JSON per cell, write `done.json` last, or `failed.json`."""

import copy
import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from ovss.files import atomic_write, file_digest, sealed_json
from ovss.lab.outputs import DATA, FIGURES, TABLES, TIMINGS

NOTEBOOK = "notebook.ipynb"
FAILURE = "failed.json"
SENTINEL = "done.json"
_TCP_ATTEMPTS = 3
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_task(sockets: Path) -> int:
    """Run the task of the current folder; 0 when its sentinel is written.

    Args:
        sockets: Folder for the kernel's sockets; its path is short.
    """
    task = json.loads(Path("task.json").read_text(encoding="utf-8"))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("papermill.translators").setLevel(logging.ERROR)
    start = time.monotonic()
    try:
        notebook = _execute(task, sockets)
    except PapermillExecutionError as error:
        trace = _ANSI.sub("", "\n".join(error.traceback))
        return _fail(error.cell_index, error.source, error.ename, error.evalue, trace)
    except (RuntimeError, OSError, NoSuchKernel) as error:
        return _fail(None, "", type(error).__name__, str(error), "")
    done = {
        "digest": task["digest"],
        "seconds": round(time.monotonic() - start, 1),
        "cells": sum(cell.cell_type == "code" for cell in notebook.cells),
        "files": _files(),
    }
    with atomic_write(SENTINEL) as file:
        file.write(sealed_json(done))
    return 0


def _execute(task: dict[str, Any], sockets: Path) -> nbformat.NotebookNode:
    """Run the notebook; where there are no IPC sockets, kernels race for TCP ports and get several attempts."""
    ipc = sys.platform != "win32"
    config = Config({"KernelManager": {"transport": "ipc", "ip": str(sockets / "k")}} if ipc else {})
    cells = len(nbformat.read(task["template"], as_version=4).cells)

    def on_cell(cell: Any, cell_index: int) -> None:
        print(json.dumps({"cell": cell_index + 1, "cells": max(cells, cell_index + 1)}), flush=True)

    attempts = 1 if ipc else _TCP_ATTEMPTS
    while True:
        attempts -= 1
        try:
            notebook = papermill.execute_notebook(
                task["template"],
                NOTEBOOK,
                parameters=task["parameters"],
                kernel_name="python3",
                progress_bar=False,
                log_output=True,
                config=config,
                on_cell_start=on_cell,
            )
            break
        except RuntimeError:
            if not attempts:
                raise
    notebook = _normalised(notebook)
    with atomic_write(NOTEBOOK, "w") as file:
        nbformat.write(notebook, file)
    return notebook


def _normalised(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of an executed notebook without what differs between two equal runs: times, paths, random cell ids."""
    notebook = copy.deepcopy(notebook)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:02d}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    return notebook


def _files() -> dict[str, str]:
    names = [Path(NOTEBOOK), Path("captions.json")]
    for kind in (TABLES, FIGURES, TIMINGS, DATA):
        names += sorted(path for path in Path(kind).glob("*") if not path.name.startswith("."))
    return {path.as_posix(): file_digest(path) for path in names if path.is_file()}


def _fail(cell: int | None, source: str, name: str, message: str, trace: str) -> int:
    failure = {"cell": cell, "source": source, "error": name, "message": message, "traceback": trace}
    with atomic_write(FAILURE, "w") as file:
        json.dump(failure, file, indent=1)
    return 1
