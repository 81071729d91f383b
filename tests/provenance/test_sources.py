"""What the hash of a result covers: the sources that make it and their data files, and nothing that only shows it."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from paths import ROOT

import ovss
from ovss.evaluation.identity import MAKERS
from ovss.methods import list_methods, method_class
from ovss.provenance.sources import HOME, files_digest, modules_used, reached_files, read_source
from ovss.study.plan import find_templates, notebook_sources

TEMPLATES = {path.path.stem[:2]: path.path for path in find_templates(ROOT / "notebooks")}


class Package:
    """A copy of the package without its weights, whose files are edited one at a time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._before: dict[str, str] = {}

    def digest(self, notebook: str = "") -> str:
        """Hash of the code of counts, or of a study notebook."""
        roots = notebook_sources(TEMPLATES[notebook]) if notebook else MAKERS
        return files_digest(reached_files(roots, self.home), self.home)

    def before(self, notebook: str = "") -> str:
        """The hash before any edit; computed once."""
        if notebook not in self._before:
            self._before[notebook] = self.digest(notebook)
        return self._before[notebook]

    def path(self, name: str) -> Path:
        """The one file of a pattern, or a module of a dotted name."""
        if "/" in name:
            (found,) = self.home.glob(name)
            return found
        base = self.home.joinpath(*name.split("."))
        return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")

    @contextmanager
    def edited(self, name: str, text: str | None = None) -> Iterator[None]:
        """Change what a file does or holds, then put it back."""
        path = self.path(name)
        whole = path.read_bytes()
        if text is not None:
            path.write_text(text)
        elif path.suffix == ".py":
            path.write_bytes(whole + b"\nADDED = 1\n")
        elif path.suffix == ".toml":
            path.write_bytes(b"added = 1\n" + whole)
        else:
            path.write_bytes(whole + b" ")
        try:
            yield
        finally:
            path.write_bytes(whole)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy") / "ovss"
    shutil.copytree(HOME, folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return Package(folder)


MOVE_COUNTS = [
    *("backbone", "backbone.loading", "datasets.voc", "datasets.masks", "evaluation.cluster", "evaluation.pipeline"),
    *("evaluation.records", "images.reading", "images.resizing", "ingredients.clusters", "methods.base"),
    *("methods.naclip", "metrics", "protocols.reading", "scenes.scenes", "segment.labels", "segment.pamr"),
    *("segment.scorer", "segment.stitching", "segment.windows", "vocabulary.vocabulary", "vocabulary.words"),
]
LEAVE_COUNTS = [
    *("analysis.attention", "app.explorer", "app.playground", "cli", "cli.app", "cli.segment", "evaluation.results"),
    *("figures.images", "figures.style", "files.tables", "lab.outputs", "lab.timing", "ledger", "ledger.joining"),
    *("metrics.effects", "metrics.intervals", "report.site", "study.batch", "study.execute", "training.train"),
    "training.trainer",
]


@pytest.mark.parametrize("name", MOVE_COUNTS)
def test_an_edit_of_what_makes_counts_moves_their_hash(package, name):
    before = package.before()
    with package.edited(name):
        assert package.digest() != before


@pytest.mark.parametrize("name", LEAVE_COUNTS)
def test_an_edit_of_what_only_shows_results_leaves_the_hash_of_counts(package, name):
    before = package.before()
    with package.edited(name):
        assert package.digest() == before


@pytest.mark.parametrize("pattern", ["protocols/sclip.toml", "vocabulary/voc21.toml", "tiny/*/ovss-tiny.json"])
def test_an_edit_of_a_protocol_a_vocabulary_or_an_architecture_moves_the_hash_of_counts(package, pattern):
    before = package.before()
    with package.edited(pattern, package.path(pattern).read_text().replace("1", "2")):
        assert package.digest() != before


def test_the_shipped_weights_are_among_the_files_that_make_counts():
    assert any(path.name == "tiny.safetensors" for path in reached_files(MAKERS))


def test_comments_docstrings_and_layout_move_no_hash(package):
    before = package.before()
    text = package.path("segment.scorer").read_text()
    assert text.startswith('"""')
    other = "# A comment.\n" + text.replace('"""', '"""Another first word: ', 1) + "\n\n\n# The end.\n"
    protocol = "# A comment.\n\n" + package.path("protocols/study.toml").read_text()
    with package.edited("segment.scorer", other), package.edited("protocols/study.toml", protocol):
        assert package.digest() == before


def test_a_docstring_may_come_and_go():
    bare = read_source(b"X = 1\ndef f(a, b=2):\n    return a\n").digest
    assert read_source(b'"""M."""\nX = 1\n"""X."""\ndef f(a,\n      b = 2):\n    "f"\n    return (a)\n').digest == bare
    assert read_source(b"X = 1\ndef f(a, b=3):\n    return a\n").digest != bare
    assert read_source(b"X = '1'\ndef f(a, b=2):\n    return a\n").digest != bare


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("20", "lab.examples"),
        ("20", "analysis.attention"),
        ("21", "lab.examples"),
        ("21", "analysis.coherence"),
        ("22", "metrics.intervals"),
        ("22", "figures.curves"),
        ("22", "evaluation.results"),
        ("23", "metrics.effects"),
        ("24", "lab.timing"),
        ("25", "ledger"),
        *((number, "lab.outputs") for number in TEMPLATES),
        *((number, "study.execute") for number in TEMPLATES),
    ],
)
def test_an_edit_of_what_a_notebook_uses_moves_its_digest(package, number, name):
    before = package.before(number)
    with package.edited(name):
        assert package.digest(number) != before


@pytest.mark.parametrize("number", sorted(TEMPLATES))
def test_an_edit_of_what_no_notebook_uses_moves_no_digest(package, number):
    before = package.before(number)
    with ExitStack() as edits:
        for name in ("cli", "cli.app", "training.train", "report.site", "study.progress", "study.batch"):
            edits.enter_context(package.edited(name))
        assert package.digest(number) == before


def test_the_numbers_of_the_ledger_belong_to_the_notebook_that_prints_them(package):
    before = package.before("25")
    with package.edited("ledger/published.csv"):
        assert package.digest("25") != before


def test_every_method_is_among_the_sources_of_counts():
    reached = set(reached_files(MAKERS))
    for name in list_methods():
        assert Path(str(sys.modules[method_class(name).__module__].__file__)) in reached, name


EVALUATION = """
import sys, tempfile
import ovss
for methods in (["clip", "cliptrase", "scclip"], ["naclip"]):
    ovss.evaluate(ovss.load_backbone("tiny"), methods, "scenes", limit=2)
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "ovss"))
"""


@pytest.mark.slow
def test_python_itself_loads_nothing_for_an_evaluation_that_was_not_reached():
    loaded = subprocess.run([sys.executable, "-c", EVALUATION], capture_output=True, text=True, check=True).stdout
    reached = set(reached_files(["ovss.evaluation.run"]))
    for name in loaded.split():
        assert Path(str(importlib.import_module(name).__file__)) in reached, name


@pytest.mark.slow
def test_python_itself_loads_nothing_to_make_counts_that_is_not_hashed():
    code = f"import sys\nimport {MAKERS[0]}\n" + EVALUATION.splitlines()[-1]
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    reached = set(reached_files(MAKERS))
    assert len(loaded.split()) > 40
    for name in loaded.split():
        assert Path(str(importlib.import_module(name).__file__)) in reached, name


@pytest.mark.parametrize("name", [name for name in ovss.__all__ if name != "InputError"])
def test_a_name_that_the_package_serves_on_demand_leads_to_its_module(name):
    served = getattr(ovss, name)
    module = served if isinstance(served, ModuleType) else sys.modules[served.__module__]
    home = Path(str(module.__file__))
    assert home in reached_files(modules_used(f"import ovss\novss.{name}"))
    assert home in reached_files(modules_used(f"from ovss import {name}"))


class TestReach:
    def package(self, folder: Path, **files: str) -> Path:
        home = folder / "ovss"
        for name, text in {"__init__": "", **files}.items():
            path = home / f"{name.replace('__', '/') if name != '__init__' else name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()
        return home

    def names(self, home: Path, *roots: str) -> set[str]:
        found = reached_files(roots, home)
        return {path.relative_to(home).with_suffix("").as_posix() for path in found if path.name != "__init__.py"}

    def test_imports_inside_functions_count_and_those_of_the_type_checker_do_not(self, tmp_path):
        text = (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ovss.b\ndef f():\n    from ovss import c\n"
        )
        assert self.names(self.package(tmp_path, a=text, b="", c=""), "ovss.a") == {"a", "c"}

    def test_relative_and_renamed_imports_are_followed(self, tmp_path):
        home = self.package(tmp_path, room__a="from . import b\nfrom ..c import X as Y\nimport ovss.d as e\n")
        home = self.package(tmp_path, room__b="", c="X = 1", d="", unused="")
        assert self.names(home, "ovss.room.a") == {"room/a", "room/b", "c", "d"}

    @pytest.mark.parametrize(
        "walking",
        [
            "import pkgutil\nfor module in pkgutil.iter_modules(__path__):\n    pass\n",
            "import importlib\n"
            "for path in sorted(FOLDER.glob('*.py')):\n    importlib.import_module(f'{__name__}.{path.stem}')\n",
        ],
    )
    def test_a_package_that_loads_its_own_folder_reaches_all_of_it(self, tmp_path, walking):
        home = self.package(
            tmp_path, a="import ovss.methods\n", methods__one="", methods__two="from ovss import b", b=""
        )
        (home / "methods" / "__init__.py").write_text(walking)
        assert self.names(home, "ovss.a") == {"a", "b", "methods/one", "methods/two"}

    def test_an_unknown_root_is_an_error(self):
        with pytest.raises(ModuleNotFoundError, match=r"ovss\.nowhere"):
            reached_files(["ovss.nowhere"])
