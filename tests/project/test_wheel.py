"""The package as others get it: built into an sdist and a wheel, installed, and used far from the clone."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image

from ovss.evaluation.identity import MAKERS
from ovss.provenance import code_hash
from ovss.scenes.scenes import scene

pytestmark = pytest.mark.slow
SOURCES = ("ovss", "notebooks", "pyproject.toml", "setup.py", "README.md", "LICENSE")
STUDY = """
name = "small"
title = "Two methods on two drawn images"
methods = ["clip", "naclip"]
protocols = ["study"]
templates = ["22"]
[[models]]
model = "tiny"
[[datasets]]
name = "scenes"
limit = 2
"""
UNPACKED = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "ovss-out")


def run(*words: object, cwd: Path, path: Path | None = None) -> str:
    """Output of a command of this Python in a folder, with one folder of packages before all others."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The unpacked sdist, built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=UNPACKED)
        else:
            shutil.copy(ROOT / name, tree)
    run("-c", "from setuptools import build_meta; build_meta.build_sdist('dist')", cwd=tree)
    (packed,) = (tree / "dist").glob("ovss-*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def installed(sdist):
    """Folder where the wheel that the sdist gives is installed, without a package index."""
    quiet = ("--quiet", "--no-deps", "--no-index", "--no-cache-dir", "--disable-pip-version-check")
    dist, target = sdist.parent / "dist", sdist.parent / "installed"
    run("-m", "pip", "wheel", *quiet, "--no-build-isolation", "--wheel-dir", dist, sdist, cwd=sdist.parent)
    (wheel,) = dist.glob("ovss-*.whl")
    run("-m", "pip", "install", *quiet, "--target", target, wheel, cwd=sdist.parent)
    return target


@pytest.fixture
def elsewhere(tmp_path):
    """An empty folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def test_every_file_of_the_package_and_every_notebook_is_installed_byte_for_byte(installed):
    expected = {
        **{path: "ovss" / path.relative_to(ROOT / "ovss") for path in (ROOT / "ovss").rglob("*")},
        **{path: Path("ovss/notebooks") / path.name for path in (ROOT / "notebooks").glob("*.ipynb")},
        **{path: Path("ovss/notebooks/solutions") / path.name for path in (ROOT / "notebooks/solutions").glob("*.py")},
    }
    expected = {path: target for path, target in expected.items() if path.is_file() and "__pycache__" not in path.parts}
    assert len(expected) > 300
    for path, target in expected.items():
        assert (installed / target).read_bytes() == path.read_bytes(), target
    there = {path.relative_to(installed) for path in (installed / "ovss").rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix != ".pyc"} == set(expected.values())


def test_a_wheel_is_not_built_in_the_folder_it_comes_from(sdist, installed):
    assert not (sdist / "build").exists()


def test_the_installed_code_has_the_hash_of_the_clone_so_that_records_fit_both(installed, elsewhere):
    ask = f"import ovss; print(ovss.__file__); from ovss.provenance import code_hash; print(code_hash(*{MAKERS}))"
    file, made = run("-c", ask, cwd=elsewhere, path=installed).split()
    assert Path(file).is_relative_to(installed)
    assert made == code_hash(*MAKERS)


def test_segment_evaluate_and_reproduce_run_from_an_empty_folder(installed, elsewhere):
    Image.fromarray(scene("val", 3).image).save(elsewhere / "scene.png")
    commands = [
        ["segment", "scene.png", "-c", "circle; square", "--out", "labels"],
        ["evaluate", "--methods", "naclip", "--data", "scenes", "--limit", "2", "--out", "run"],
    ]
    # Both in one process, as its imports take most of the time.
    both = f"from ovss.cli import main; print([main(words) for words in {commands}])"
    shown = run("-c", both, cwd=elsewhere, path=installed)
    assert shown.splitlines()[-1] == "[0, 0]"
    assert "naclip" in shown
    assert list((elsewhere / "labels").glob("*mask*.png"))
    (elsewhere / "small.toml").write_text(STUDY)
    run("-m", "ovss", "reproduce", "small.toml", cwd=elsewhere, path=installed)
    report = elsewhere / "reports" / "run" / "small"
    assert "clip" in (report / "index.html").read_text(encoding="utf-8")
    assert str(ROOT) not in (report / "run.json").read_text(encoding="utf-8")
    assert {path.name for path in elsewhere.iterdir()} == {"scene.png", "labels", "run", "small.toml", "reports"}


def test_the_notebooks_can_be_copied_out_of_the_wheel(installed, elsewhere):
    shown = run("-m", "ovss", "notebooks", cwd=elsewhere, path=installed)
    copied = {path.relative_to(elsewhere / "notebooks") for path in (elsewhere / "notebooks").rglob("*.*")}
    assert {Path("01_quickstart.ipynb"), Path("22_benchmark_table.ipynb"), Path("solutions/s04_naclip.py")} <= copied
    assert f"{len(copied)} files written" in shown
    for path in copied:
        assert (elsewhere / "notebooks" / path).read_bytes() == (ROOT / "notebooks" / path).read_bytes()
