"""What the texts beside the code say can be done, can be done: their commands run, their links lead somewhere."""

import re
import shlex
import tomllib

import pytest
import yaml
from paths import ROOT

import ovss
from ovss.cli import main

TEXTS = [ROOT / "AGENTS.md", ROOT / "llms.txt", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)


def blocks(language: str) -> list[tuple[str, str]]:
    """Fenced blocks of a language, with the name of their text."""
    pattern = rf"^```{language}\n(.+?)^```$"
    return [
        (path.relative_to(ROOT).as_posix(), found)
        for path in TEXTS
        if "_generated" not in path.parts
        for found in re.findall(pattern, path.read_text(encoding="utf-8"), flags=re.M | re.S)
    ]


COMMANDS = [(name, line) for name, block in blocks("sh") for line in block.splitlines() if line]


def test_there_are_commands_in_each_of_the_two_texts_for_programs():
    names = [name for name, _ in COMMANDS]
    assert names.count("AGENTS.md") >= 8
    assert names.count("llms.txt") >= 8


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_a_command_of_a_text_does_what_it_says_with_success(name, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line, comments=True)
    assert program == "ovss", "blocks of sh are run by this test; commands that take long or need data stand in console"
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.mark.parametrize(("name", "block"), blocks("python"))
def test_python_of_a_text_runs(name, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_link_of_a_text_leads_to_a_file(path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert "_generated" in target or (path.parent / target).exists(), target


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
