"""Methods of a file and of installed packages: found, named where they fail, and part of the key of what they make."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ovss
from ovss.cli import main
from ovss.methods import registry

METHOD = '''
from dataclasses import dataclass

import ovss
from ovss.ingredients import attend

GAIN = 1.0


@ovss.register
@dataclass(frozen=True)
class Mine(ovss.Method):
    """Values attend to values."""

    name = "mine"
    paper = ovss.Paper(title="A title", authors="", venue="here", arxiv="")
    pairs: str = "vv"

    def mix(self, tokens, values=None):
        return GAIN * attend(tokens.qkv(tokens.depth), self.pairs, values=values)
'''


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "my_method.py"
    path.write_text(METHOD)
    return path


def run(plugin: Path, out: Path) -> tuple[int, str, dict[str, bytes]]:
    """Exit code, key and records of a run with the plugin's method, in a process of its own."""
    words = ["evaluate", "--plugin", plugin, "--methods", "mine", "naclip", "--data", "scenes", "--limit", "1"]
    command = [sys.executable, "-m", "ovss", *words, "--out", out, "--device", "cpu"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "`mine`" in done.stdout or "mine" in done.stdout
    run = json.loads((out / "run.json").read_text())
    return done.returncode, run["facts"]["key"], {p.name: p.read_bytes() for p in (out / "records").rglob("*.npz")}


@pytest.mark.slow
def test_a_plugin_is_evaluated_and_its_source_is_part_of_the_key(plugin, tmp_path):
    _, first, _ = run(plugin, tmp_path / "out")
    _, again, _ = run(plugin, tmp_path / "out")
    assert again == first
    size = plugin.stat()
    plugin.write_text(METHOD.replace("GAIN = 1.0", "GAIN = 2.0"))
    os.utime(plugin, ns=(size.st_atime_ns, size.st_mtime_ns))  # as an editor within the same second
    _, changed, _ = run(plugin, tmp_path / "out")
    assert changed != first


def test_a_plugin_adds_its_methods(plugin):
    assert ovss.load_plugin(plugin) == ["mine"]
    assert "mine" in ovss.list_methods()
    plugin.write_text(METHOD.replace('pairs: str = "vv"', 'pairs: str = "qq"'))
    assert ovss.load_plugin(plugin) == ["mine"]
    assert ovss.create_method("mine").parameters == {"pairs": "qq"}
    assert ovss.create_method("mine", pairs="kk").label == "mine(pairs=kk)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx.missing\n", "line 2: AttributeError: 'int' object has no attribute 'missing'"),
        ("def broken(:\n", "line 1: SyntaxError: invalid syntax"),
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("x = 1\n", "registers no method; write @ovss.register above a subclass of ovss.Method"),
        (METHOD.replace('    name = "mine"\n', ""), "needs a name"),
        (METHOD.replace('"mine"', '"naclip"'), "method 'naclip' is defined twice"),
    ],
)
def test_a_plugin_that_fails_is_refused_in_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert main(["evaluate", "--plugin", str(path), "--data", "scenes"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"plugin '{path}'" in error
    assert message in error


def test_a_second_plugin_does_not_replace_the_method_of_a_first_of_the_same_file_name(plugin, tmp_path):
    ovss.load_plugin(plugin)
    other = tmp_path / "other" / plugin.name
    other.parent.mkdir()
    other.write_text(METHOD)
    with pytest.raises(ovss.InputError, match="method 'mine' is defined twice"):
        ovss.load_plugin(other)


@pytest.mark.parametrize("name", ["missing.py", "notes.txt"])
def test_a_plugin_that_is_no_file_of_python_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x = 1")
    with pytest.raises(ovss.InputError, match=r"must be an existing \.py file"):
        ovss.load_plugin(tmp_path / name)


def installed(folder: Path, text: str, modules: str = "my_package") -> Path:
    """A folder as pip leaves it: a package with an entry point of the group `ovss.methods`."""
    site = folder / "site-packages"
    (site / "my_package").mkdir(parents=True, exist_ok=True)
    (site / "my_package" / "__init__.py").write_text(text)
    info = site / "my_package-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ovss.methods]\nmine = {modules}\n")
    return site


def ask(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


KEY = """
import ovss
from ovss.provenance.outside_code import outside_code
print(outside_code({"mine": ovss.create_method("mine")}, needed=True)["mine"])
"""


@pytest.mark.slow
def test_methods_of_an_installed_package_are_found_listed_and_hashed(tmp_path):
    listed = ask(installed(tmp_path, METHOD), "from ovss.cli import main; main(['list', 'methods', 'mine'])")
    assert "Values attend to values." in listed.stdout, listed.stderr
    first = ask(installed(tmp_path, METHOD), KEY)
    assert len(first.stdout.strip()) == 64, first.stderr
    upgraded = ask(installed(tmp_path, METHOD.replace("GAIN = 1.0", "GAIN = 2.0")), KEY)
    assert len(upgraded.stdout.strip()) == 64
    assert upgraded.stdout != first.stdout


@pytest.mark.slow
def test_an_installed_package_that_fails_is_named_and_the_others_stay(tmp_path):
    done = ask(installed(tmp_path, "1 / 0\n"), "import ovss; print(ovss.list_methods()[0])")
    assert done.stdout.strip() == "clip"
    assert "entry point 'mine' (my_package) cannot be loaded: ZeroDivisionError" in done.stderr
