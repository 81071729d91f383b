"""Methods from outside the package: what their code is goes into the key of a run, or nothing is kept under it."""

import importlib.util
import linecache
import sys
from pathlib import Path
from types import ModuleType

import pytest
from evaluation_helpers import quick_protocol

import ovss
from ovss.methods import Method, create_method
from ovss.provenance.outside_code import outside_code

METHOD = '''
from dataclasses import dataclass

import torch

import ovss.methods.base as base
from ovss.methods import Method, Paper
from ovss.methods.parameters import parameter

GAIN = 0.5


def sharpen(x):
    return x * 2


def helper(x):
    return sharpen(x) + GAIN


@dataclass(frozen=True)
class Mine(Method):
    """A method of one's own."""

    name = "mine"
    paper = Paper("A title", "An author", "2026", "")
    power: float = parameter(1.0, "exponent", "ours", "(0, inf)")

    def patch_embeddings(self, tokens):
        """Patches as they leave the model."""
        x = tokens.hidden(tokens.depth)[:, 1:]
        return base.unit(tokens.read_out(helper(x)))
'''


def from_file(folder: Path, text: str, name: str = "my_method") -> Method:
    """The method of a module file of the user's."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    return module.Mine()


def from_cell(text: str, names: dict | None = None) -> Method:
    """The method of a notebook cell: run without a file, its source known to linecache as IPython does it."""
    module = ModuleType("__main__")
    file = f"/tmp/ipykernel_1/{abs(hash(text))}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    vars(module).update(names or {})
    exec(compile(text, file, "exec"), vars(module))
    return module.Mine()


def key(method: Method) -> str:
    return outside_code({"mine": method}, needed=True)["mine"]


CHANGES = {
    "its body": ("helper(x)))", "helper(-x)))"),
    "a constant in its body": ("[:, 1:]", "[:, 2:]"),
    "a function it calls": ("+ GAIN", "- GAIN"),
    "a function that one calls": ("x * 2", "x * 3"),
    "a global constant": ("GAIN = 0.5", "GAIN = 0.25"),
    "another name of a module": ("base.unit(", "torch.relu("),
    "a default": ("parameter(1.0", "parameter(2.0"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("place", ["file", "cell"])
def test_a_change_gives_another_key(tmp_path, place, change):
    make = from_cell if place == "cell" else lambda text: from_file(tmp_path, text)
    before = key(make(METHOD))
    assert METHOD.count(change[0]) == 1
    assert key(make(METHOD)) == before
    assert key(make(METHOD.replace(*change))) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A method of one\'s own."""', '"""Better words."""'),
        ('        """Patches as they leave the model."""\n', ""),
        ("    return x * 2", "    # twice\n    return (x * 2)"),
        ("GAIN = 0.5", "GAIN = 0.5\nUNUSED = 1"),
    ],
)
def test_words_layout_and_what_the_method_does_not_use_leave_the_key(old, new):
    assert METHOD.count(old) == 1
    assert key(from_cell(METHOD.replace(old, new))) == key(from_cell(METHOD))


FACTORY = """
from my_helpers import scale, settings
from ovss.methods import Paper
from ovss.methods.base import Method, unit


def make(weight):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Mine(Method):
        name = "mine"
        paper = Paper("T", "A", "V", "")

        def patch_embeddings(self, tokens):
            return unit(scale(tokens.read_out(tokens.hidden(tokens.depth)[:, 1:])) * weight * settings.gain)

    return Mine


Mine = make(WEIGHT)
"""


def with_helpers(weight, body="x + 1", gain=1.0) -> str:
    helpers = ModuleType("my_helpers")
    settings = ModuleType("my_settings")
    linecache.cache["/tmp/my_helpers.py"] = (1, None, [f"def scale(x): return {body}\n"], "/tmp/my_helpers.py")
    exec(compile(f"def scale(x): return {body}\n", "/tmp/my_helpers.py", "exec"), vars(helpers))
    vars(settings).update(gain=gain, other=object())
    vars(helpers)["settings"] = settings
    sys.modules["my_helpers"] = helpers
    try:
        return key(from_cell(FACTORY, {"WEIGHT": weight}))
    finally:
        del sys.modules["my_helpers"]


def test_values_it_closes_over_and_modules_of_its_own_count():
    before = with_helpers(2.0)
    assert with_helpers(2.0) == before
    others = [with_helpers(3.0), with_helpers(2.0, body="x + 2"), with_helpers(2.0, gain=0.5)]
    assert len({before, *others}) == 4


def test_arrays_and_tensors_count_with_their_values():
    import numpy as np
    import torch

    arrays = [torch.zeros(3), torch.ones(3), torch.ones(1, 3), np.ones(3), np.ones(3, dtype=np.float32)]
    assert len({with_helpers(array) for array in arrays}) == len(arrays)
    assert with_helpers(torch.ones(3)) == with_helpers(torch.ones(3))


def test_a_base_class_of_ones_own_counts():
    text = METHOD + "\n\nclass Other(Mine):\n    name = 'other'\n\n\nMine = Other\n"
    assert key(from_cell(text)) != key(from_cell(text.replace("x * 2", "x * 3")))


def test_a_file_edited_after_its_import_is_not_taken_for_what_runs(tmp_path):
    method = from_file(tmp_path, METHOD)
    before = key(method)
    (tmp_path / "my_method.py").write_text(METHOD.replace("x * 2", "x * 3"))
    linecache.checkcache()
    assert key(method) == before


def test_methods_of_the_package_are_covered_by_its_own_hash():
    assert outside_code({"naclip": create_method("naclip")}, needed=True) == {}


def without_source(text: str = METHOD) -> Method:
    names: dict = {}
    exec(text, names)
    return names["Mine"]()


def test_without_a_source_nothing_is_kept(backbone, data, tmp_path):
    settings = {"protocol": quick_protocol(), "limit": 1}
    assert ovss.evaluate(backbone, {"mine": without_source()}, data, **settings).summary()["mIoU"].notna().all()
    with pytest.raises(ovss.InputError, match=r"method 'mine': the source of 'Mine\.patch_embeddings' cannot be had"):
        ovss.evaluate(backbone, {"mine": without_source()}, data, out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_global_whose_value_cannot_be_determined_is_refused_by_its_name():
    text = METHOD.replace("GAIN = 0.5", "import threading\nGAIN = threading.Lock()")
    with pytest.raises(ovss.InputError, match=r"method 'mine': the value of 'GAIN' \(_thread\.lock\)"):
        key(from_cell(text))


def test_a_changed_method_is_evaluated_again_and_an_unchanged_one_is_not(backbone, data, tmp_path):
    def run(text):
        found = ovss.evaluate(
            backbone, {"mine": from_cell(text)}, data, out=tmp_path / "out", protocol=quick_protocol(), limit=4
        )
        return found.counts("mine").tolist()

    flipped = METHOD.replace("helper(x)))", "-helper(x)))")
    first = run(METHOD)
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert run(METHOD) == first
    assert records == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert run(flipped) != first
    assert run(METHOD) == first
