"""What the texts beside the code say can be done, can be done: their commands run, their links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from paths import ROOT

import ovss
from ovss.cli import main
from ovss.cli.main import build_parser

TEXTS = [
    *(ROOT / name for name in ("AGENTS.md", "llms.txt")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not {"pages", "extra"} & set(path.parts)),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
_BLOCK = re.compile(r"^```([a-z]+)\n(.+?)^```$", flags=re.M | re.S)
_FILE = re.compile(r"# ([a-z_]+\.[a-z]+)\n")


def blocks(path: Path, language: str) -> list[str]:
    """Fenced blocks of a text in one language."""
    return [block for kind, block in _BLOCK.findall(path.read_text(encoding="utf-8")) if kind == language]


def commands(language: str) -> list[tuple[str, Path]]:
    """Lines of the blocks of a language, each with its text."""
    lines = [
        (line.removeprefix("$ "), path)
        for path in TEXTS
        for block in blocks(path, language)
        for line in block.splitlines()
    ]
    return [(line, path) for line, path in lines if line]


def write_files(path: Path, folder: Path) -> None:
    """Write the files of a text: the blocks whose first line is a comment with a file name."""
    for _, block in _BLOCK.findall(path.read_text(encoding="utf-8")):
        name = _FILE.match(block)
        if name:
            (folder / name[1]).write_text(block, encoding="utf-8")


def test_there_are_commands_in_each_of_the_two_texts_for_programs():
    names = [path.name for _, path in commands("sh")]
    assert names.count("AGENTS.md") >= 8
    assert names.count("llms.txt") >= 8


@pytest.mark.parametrize(("line", "path"), commands("sh"), ids=lambda part: str(getattr(part, "name", part)))
def test_a_command_of_a_text_does_what_it_says_with_success(line, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(path, tmp_path)
    program, *words = shlex.split(line)
    assert program == "ovss", "blocks of sh are run by this test; commands that take long or need data stand in console"
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line, _ in commands("console") if line.startswith("ovss ")])
def test_a_command_that_takes_long_has_options_that_exist(line, capsys):
    parser, _ = build_parser()
    try:
        parser.parse_args(shlex.split(line)[1:])
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


@pytest.mark.slow
def test_the_python_of_the_texts_runs(tmp_path):
    """Each text is one program that starts in a folder with the files it shows; all run in one process of their own."""
    programs = []
    for path in TEXTS:
        code = "".join(block for block in blocks(path, "python") if not _FILE.match(block))
        if code:
            folder = tmp_path / path.stem
            folder.mkdir()
            write_files(path, folder)
            programs.append((str(folder), path.name, code))
    assert {"llms.txt", "start.md", "images.md", "dataset.md", "method.md", "rows.md"} <= {
        name for _, name, _ in programs
    }
    script = f"import os\nfor folder, name, code in {programs!r}:\n    os.chdir(folder)\n"
    script += "    exec(compile(code, name, 'exec'), {'__name__': name})\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_link_of_a_text_leads_to_a_file(path):
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        made = Path("docs/pages") in Path(os.path.normpath(path.parent.relative_to(ROOT) / target)).parents
        assert made or (path.parent / target).exists(), target  # `make docs` finds dead links to pages that it makes


def test_make_targets_that_are_named_exist():
    named = set(re.findall(r"`make ([a-z]+)", (ROOT / "AGENTS.md").read_text(encoding="utf-8")))
    assert {"setup", "test", "quick"} <= named <= set(TARGETS)


def test_the_citation_names_this_version_and_this_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == ovss.__version__
    assert citation["license"] == PROJECT["license"]
    holder = re.search(r"^Copyright \(c\) \d+ (.+)$", (ROOT / "LICENSE").read_text(encoding="utf-8"), flags=re.M)
    assert [author["name"] for author in citation["authors"]] == [holder and holder.group(1)]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_workflow_runs_make_on_versions_that_the_package_declares():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    declared = {entry.split(" :: ")[-1] for entry in PROJECT["classifiers"] if entry.startswith("Programming")}
    assert f">={min(declared, key=lambda version: int(version.split('.')[1]))}" == PROJECT["requires-python"]
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) <= declared
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for step in steps:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step.get("uses", "actions/x@v0.0.0")), step
    runs = [step["run"].split()[1] for step in steps if "run" in step]
    assert "test" in runs
    assert set(runs) <= set(TARGETS)
