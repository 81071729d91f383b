"""The walkthroughs run, say what was committed, accept other parameters, and their exercises have answers."""

import ast
import base64
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval_digits import same_text
from paths import ROOT
from PIL import Image
from walkthroughs import METADATA, execute, lint, main, normalise, walkthroughs, write

import ovss
from ovss import InputError

NOTEBOOKS = walkthroughs(ROOT / "notebooks")
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("s[01]*.py"))
COMMON = {"model", "pretrained", "image", "classes"}


def solution(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_eleven_walkthroughs_each_with_solutions() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, 12)]
    for path in NOTEBOOKS:
        source = nbformat.read(path, as_version=4)
        named = [cell.source for cell in source.cells if "solutions/" in cell.source]
        assert any(f"solutions/{solution_path.name}" in text for text in named for solution_path in SOLUTIONS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert lint(notebook, path.stat().st_size) == []
    assert nbformat.writes(normalise(notebook)) + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_question_has_a_folded_answer(path: Path) -> None:
    [cell] = [cell for cell in nbformat.read(path, as_version=4).cells if "## Check yourself" in cell.source]
    asked, answered = re.split(r"<details><summary>Answers</summary>\n\n", cell.source.partition("## Exercises")[0])
    answered = answered.partition("\n</details>")[0]
    numbers = [re.findall(r"^(\d+)\. \S", part, re.MULTILINE) for part in (asked, answered)]
    assert numbers[0] == numbers[1] == ["1", "2", "3"]
    assert all(len(line) > 20 for line in answered.splitlines())


def test_the_notebook_on_ones_own_method_uses_the_public_door_only() -> None:
    [path] = [path for path in NOTEBOOKS if path.name.startswith("09")]
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    code = "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))
    tree = ast.parse(code)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _name(node.value) == "ovss"}
    assert used <= set(ovss.__all__)
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name and name.startswith("ovss")} == {"ovss.ingredients", "ovss.testing"}


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_walkthrough_takes_the_common_parameters(path: Path) -> None:
    assert set(papermill.inspect_notebook(str(path))) >= COMMON


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("from a to b: +8.5 [-7.6, 24.5], words win", True),
        ("from a to b: +8.5 [-7.6, 24.4], words win", False),
        ("from a to b: +8.5 [-7.6, 24.50], words win", False),
        ("from a to b: +8.5 [-7.6, 24.6], a draw", False),
        ("from a to c: +8.5 [-7.6, 24.6], words win", False),
        ("from a to b: +8.5 [7.6, 24.6], words win", False),
    ],
)
def test_only_the_last_digit_of_a_decimal_may_differ(printed: str, same: bool) -> None:
    assert same_text("from a to b: +8.5 [-7.6, 24.6], words win", printed) is same
    assert same_text("9.95 of 21 images", "10.05 of 21 images") is False
    assert same_text("   9.9 of 21 images", "  10.0 of 21 images")
    assert not same_text("21 images", "22 images")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_that_were_committed(path: Path) -> None:
    config = ROOT / "tests" / "nbval.cfg"
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-sanitize-with", str(config), str(path)]
    command += [
        *("-p", "nbval_digits"),
        *("-p", "no:cacheprovider"),
        *("-p", "no:xdist"),
        *("--rootdir", str(ROOT)),
        *("-c", os.devnull),
        "--nbval-cell-timeout=300",
    ]
    paths = os.pathsep.join(filter(None, [str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    result = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_other_images_and_words_run_unchanged(path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    rows, columns = np.mgrid[:90, :140]
    Image.fromarray(np.stack([rows, columns, rows + columns], -1).astype(np.uint8)).save(picture)
    parameters: dict[str, Any] = {"image": str(picture), "classes": "grass; sky, snow; tree"}
    if "images" in papermill.inspect_notebook(str(path)):
        parameters["images"] = 2
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(path), str(out), parameters, cwd=str(path.parent), progress_bar=False, kernel_name="python3"
    )
    ran = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)


@pytest.mark.slow
@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_exercises_have_answers(path: Path) -> None:
    module = solution(path)
    exercises = [name for name in vars(module) if name.startswith("exercise_")]
    assert exercises == ["exercise_1", "exercise_2", "exercise_3"]
    for name in exercises:
        assert getattr(module, name)() is not None


class TestTool:
    def notebook(self, *cells: Any) -> Any:
        return new_notebook(cells=list(cells), metadata=METADATA)

    def test_executing_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        source = self.notebook(
            new_markdown_cell("# A"), new_code_cell("print('a')\nprint('b')"), new_code_cell("1 + 1")
        )
        path = tmp_path / "n.ipynb"
        write(source, path)
        write(execute(path), path)
        first = path.read_bytes()
        write(execute(path), path)
        assert path.read_bytes() == first
        cells = nbformat.read(path, as_version=4).cells
        assert [cell.get("execution_count") for cell in cells] == [None, 1, 2]
        assert cells[1].outputs[0].text == "a\nb\n"
        assert cells[2].outputs[0].data["text/plain"] == "2"
        assert [cell.id for cell in cells] == ["cell-01", "cell-02", "cell-03"]

    def test_stored_figures_keep_the_colours_of_small_marks(self) -> None:
        rows, columns = np.mgrid[:200, :300]
        picture = np.stack([rows, columns * 255 // 300, (rows + columns) // 2], -1).astype(np.uint8)
        picture[50:53, 60:63] = (213, 94, 0)
        picture[:, 290:] = 255
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="PNG")
        output = new_output("display_data", data={"image/png": base64.b64encode(buffer.getvalue()).decode()})
        stored = normalise(self.notebook(new_code_cell("x", outputs=[output]))).cells[0].outputs[0].data["image/png"]
        with Image.open(io.BytesIO(base64.b64decode(stored))) as opened:
            kept = np.asarray(opened.convert("RGB"), int)
            assert opened.mode == "P"
        assert np.abs(kept[51, 61] - (213, 94, 0)).max() <= 16
        assert np.abs(kept[:, 295] - 255).max() <= 2
        assert np.abs(kept - picture).mean() < 6

    def test_a_failing_cell_is_named_and_the_file_stays_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "n.ipynb"
        write(self.notebook(new_code_cell("1"), new_code_cell("raise ValueError('no')")), path)
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"n\.ipynb: cell 2 failed: ValueError: no"):
            execute(path)
        assert main([str(path)]) == 1
        assert path.read_bytes() == before

    def test_a_folder_without_walkthroughs_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no notebook"):
            walkthroughs(tmp_path)

    def test_lint_finds_what_a_walkthrough_must_not_have(self) -> None:
        warned = new_code_cell("%timeit 1", execution_count=4)
        warned.outputs = [new_output("stream", name="stderr", text="warning")]
        parameters = new_code_cell("model = 'tiny'", metadata={"tags": ["parameters"]}, execution_count=1)
        place = "/".join(["", "home", "me", "x"])
        notebook = self.notebook(parameters, warned, new_markdown_cell(f"see {place}"), new_markdown_cell(" "))
        notebook.metadata = {}
        found = "\n".join(lint(notebook, 10**6))
        for expected in (
            "metadata",
            "4 cells",
            "bytes",
            "cell 4 is empty",
            "absolute path /home/",
            "parameter line \"model = 'tiny'\"",
            "magic '%timeit 1'",
            "execution count 4, expected 2",
            "warning among its outputs",
            "no 'You will learn'",
        ):
            assert expected in found
