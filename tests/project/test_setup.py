"""The project's files agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from paths import ROOT

import ovss
from ovss.files import atomic_write, digest

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_environment_installs_exactly_what_pyproject_names():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert [entry.split("=")[0] for entry in conda] == ["python", "pip"]
    version = tuple(map(int, conda[0].split("=")[1].split(".")))
    assert version >= tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    constraint, package = pip["pip"]
    assert (ROOT / constraint.removeprefix("--constraint ")).is_file()
    extras = re.fullmatch(r"--editable \.\[([a-z,]+)\]", package)
    assert extras is not None
    assert set(extras.group(1).split(",")) == set(PROJECT["optional-dependencies"])


def test_constraints_are_plain_pins_of_every_dependency():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    wanted = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[>=<\[ ]", entry)[0]).lower() for entry in wanted}
    assert names <= pinned


def test_the_packages_the_project_is_built_on_are_declared():
    declared = " ".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
    for name in ("jupyterlab", "papermill", "torch", "open_clip_torch", "pandas", "seaborn", "nbval"):
        assert re.search(rf"\b{name}\b", declared), name


def test_versions_agree():
    assert PROJECT["version"] == ovss.__version__


def test_public_names_exist():
    for name in ovss.__all__:
        assert getattr(ovss, name) is not None
    assert not hasattr(ovss, "segmentor")


def test_make_help_reads_its_own_comments():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    assert {"setup", "reproduce", "test", "lint", "lab"} <= set(targets)
    assert all(f"make {target}" in shown for target in targets)


def test_what_the_make_targets_write_is_ignored_by_git_but_for_the_reference():
    from ovss.cli.reproduce import REFERENCES, RUNS

    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^reproduce:.*\n\t\S+ovss reproduce$", makefile, flags=re.M), "a run goes to its own folder"
    assert f"ovss reproduce --out {REFERENCES / 'tiny'}\n" in makefile
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    ignored = ["git", "check-ignore", "--quiet"]
    assert subprocess.run([*ignored, str(RUNS / "tiny" / "index.html")], cwd=ROOT, check=False).returncode == 0
    assert subprocess.run([*ignored, str(REFERENCES / "tiny" / "x.html")], cwd=ROOT, check=False).returncode == 1


def test_only_the_backbone_walks_open_clips_modules():
    inside = re.compile(r"\.(resblocks|ln_post|ln_pre|in_proj_weight|class_embedding|positional_embedding)\b")
    allowed = {ROOT / "ovss" / "backbone", ROOT / "ovss" / "training"}
    for file in (ROOT / "ovss").rglob("*.py"):
        if file.parent not in allowed:
            assert not inside.search(file.read_text()), file


def fail_half_way(target: Path) -> None:
    with atomic_write(target, "w") as file:
        file.write("second")
        raise RuntimeError("stop")


def test_files_appear_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_write(target, "w") as file:
        file.write("first")
    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way(target)
    assert target.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_digests_ignore_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
