"""Keeps the walkthroughs reproducible: execute in place, normalise, lint. `python tools/walkthroughs.py [FILE ...]`."""

import argparse
import base64
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.images.png import compact_png

FOLDER = Path("notebooks")
WALKTHROUGHS = "[01][0-9]_*.ipynb"
SECONDS_PER_CELL = 300
MOST_BYTES = 400_000
CELLS = (15, 30)
PLOTS = "%matplotlib inline"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|work|opt|mnt|Users|var)/|[A-Z]:\\\\")
_PARAMETER = re.compile(r"^\w+: (?:str|int|float|bool) = .+  # .+$")


def walkthroughs(folder: Path = FOLDER) -> list[Path]:
    """Walkthrough notebooks of a folder, in their order.

    Raises:
        InputError: There are none.
    """
    found = sorted(folder.glob(WALKTHROUGHS))
    if not found:
        raise InputError(f"folder '{folder}' holds no notebook {WALKTHROUGHS}; run this in the root of the repository")
    return found


def normalise(notebook: Any) -> Any:
    """A copy that depends on the cells and their results alone.

    Cell ids follow the position, metadata is the kernel's name and the tags, execution counts are sequential, and text
    that a cell wrote in several pieces is joined.
    """
    result = nbformat.from_dict({"cells": [], "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})
    count = 0
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags", [])
        clean: dict[str, Any] = {
            "cell_type": cell.cell_type,
            "id": f"cell-{number:02d}",
            "metadata": {"tags": list(tags)} if tags else {},
            "source": cell.source.strip("\n"),
        }
        if cell.cell_type == "code":
            executed = cell.execution_count is not None
            count += executed
            clean["execution_count"] = count if executed else None
            clean["outputs"] = [_normalise_output(output, count) for output in _joined(cell.outputs)]
        result.cells.append(nbformat.from_dict(clean))
    return result


def _joined(outputs: Iterable[Any]) -> list[Any]:
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            last["text"] += output.text
        else:
            joined.append(nbformat.from_dict(dict(output)))
    return joined


def _normalise_output(output: Any, count: int) -> Any:
    if output.output_type in ("execute_result", "display_data"):
        output["metadata"] = {}
        if "image/png" in output["data"]:
            output["data"]["image/png"] = _smaller(output["data"]["image/png"])
    if output.output_type == "execute_result":
        output["execution_count"] = count
    return output


def _smaller(encoded: str) -> str:
    """A PNG in base64, compacted."""
    return base64.b64encode(compact_png(base64.b64decode(encoded))).decode()


def execute(path: Path, *, seconds: int = SECONDS_PER_CELL) -> Any:
    """Run a notebook in a fresh kernel, in its own folder, and return it normalised.

    Args:
        path: Notebook.
        seconds: Limit per cell.

    Raises:
        InputError: A cell failed; the message names the notebook, the cell and the error.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Sockets in the file system: parallel kernels would race for TCP ports. Their path must stay short.
    with tempfile.TemporaryDirectory(prefix="ovss-") as folder:
        config = Config(
            {"KernelManager": {"transport": "ipc", "ip": f"{folder}/k", "connection_file": f"{folder}/k.json"}}
        )
        place = {"metadata": {"path": str(path.parent)}}
        _run(NotebookClient(notebook, timeout=seconds, kernel_name="python3", config=config, resources=place), path)
    return normalise(notebook)


def _run(client: NotebookClient, path: Path) -> None:
    try:
        client.execute()
    except CellExecutionError as error:
        notebook = client.nb
        failed = next((i for i, cell in enumerate(notebook.cells, 1) if _failed(cell)), 0)
        raise InputError(f"{path.name}: cell {failed} failed: {error.ename}: {error.evalue}") from error


def _failed(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def write(notebook: Any, path: Path) -> None:
    """Write a notebook whole or not at all."""
    nbformat.validate(notebook)
    with atomic_write(path, "w") as file:
        file.write(nbformat.writes(notebook) + "\n")


def lint(notebook: Any, size: int) -> list[str]:
    """What is wrong with a walkthrough as it is committed; empty when nothing is.

    Args:
        notebook: As read from its file.
        size: Bytes of that file.
    """
    cells = notebook.cells
    found = []
    if dict(notebook.metadata) != METADATA:
        found.append(f"metadata is not that of kernel python3: {dict(notebook.metadata)}")
    if not CELLS[0] <= len(cells) <= CELLS[1]:
        found.append(f"{len(cells)} cells; a walkthrough has {CELLS[0]} to {CELLS[1]}")
    if size > MOST_BYTES:
        found.append(f"{size} bytes; {MOST_BYTES} are the limit")
    found += [f"cell {n} is empty" for n, cell in enumerate(cells, 1) if not cell.source.strip()]
    text = nbformat.writes(notebook)
    found += [f"absolute path {match.group()}" for match in _ABSOLUTE.finditer(text)]
    parameters = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(parameters) != 1:
        found.append(f"{len(parameters)} cells are tagged 'parameters'; one must be")
    for cell in parameters:
        lines = cell.source.splitlines()
        found += [
            f"parameter line {line!r} is not 'name: type = value  # help'"
            for line in lines
            if not _PARAMETER.match(line)
        ]
    found += _lint_cells(cells)
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for needed in ("You will learn", "minutes", "## Check yourself", "## Exercises"):
        if needed not in prose:
            found.append(f"no '{needed}' in the prose")
    return found


def _lint_cells(cells: Sequence[Any]) -> list[str]:
    found = []
    code = [(n, cell) for n, cell in enumerate(cells, 1) if cell.cell_type == "code"]
    for position, (n, cell) in enumerate(code, 1):
        lines = cell.source.splitlines()
        found += [f"cell {n}: magic {line!r}" for line in lines if line[:1] in ("%", "!") and line != PLOTS]
        if cell.execution_count != position:
            found.append(f"cell {n}: execution count {cell.execution_count}, expected {position}; run `make notebooks`")
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {n}: has an error or a warning among its outputs")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Execute and normalise notebooks in place; the walkthroughs when none is named."""
    parser = argparse.ArgumentParser(prog="python tools/walkthroughs.py", description=main.__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        for path in args.files or walkthroughs():
            start = time.perf_counter()
            write(execute(path), path)
            print(f"{path}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
