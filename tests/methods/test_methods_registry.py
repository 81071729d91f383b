"""A method is known because its file is there; no list has to be edited."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import ovss
from ovss.errors import InputError
from ovss.evaluation.identity import MAKERS
from ovss.methods import Method, Paper, create_method, default_methods, list_methods, method_class
from ovss.methods.registry import READING_ORDER, register
from ovss.provenance import code_hash

MINE = '''
"""Values attend to values."""
from dataclasses import dataclass
from typing import ClassVar

from ovss.ingredients import attend
from ovss.methods.base import Method, Paper
from ovss.methods.registry import register


@register
@dataclass(frozen=True)
class Mine(Method):
    """softmax(v v^T / sqrt d) v; no residual, no FFN."""

    name: ClassVar[str] = "aaa_mine"
    paper: ClassVar[Paper] = Paper(title="Mine", authors="Me", venue="here", arxiv="")

    def mix(self, tokens, values=None):
        return attend(tokens.qkv(tokens.depth), "vv", values=values)
'''
ASK = """
import json, torch, ovss
from ovss.analysis import method_attention
from ovss.cli import main
from ovss.methods import list_methods, resolve_methods
from ovss.evaluation.identity import MAKERS
from ovss.provenance import code_hash

main(["methods", "aaa_mine"])
tokens = ovss.load_backbone(device="cpu").encode_tokens(torch.randn(1, 3, 64, 64))
method = ovss.create_method("aaa_mine")
shapes = [list(method.patch_embeddings(tokens).shape), list(method_attention(tokens, method).shape)]
print(json.dumps([ovss.__file__, list_methods(), list(resolve_methods("all")), shapes, code_hash(*MAKERS)]))
"""


@pytest.mark.slow
def test_one_file_is_all_it_takes(tmp_path):
    package = Path(ovss.__file__).parent
    copy = shutil.copytree(package, tmp_path / "ovss", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "methods" / "mine.py").write_text(MINE)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    origin, names, all_of_them, shapes, digest = json.loads(done.stdout.splitlines()[-1])
    assert Path(origin).parent == copy
    assert sorted(names) == sorted([*list_methods(), "aaa_mine"])
    assert all_of_them == [name for name in names if name in {*default_methods(), "aaa_mine"}]
    assert "softmax(v v^T / sqrt d) v" in done.stdout
    backbone = ovss.load_backbone(device="cpu")
    assert shapes == [[1, 64, backbone.embed_dim], [1, backbone.heads, 64, 64]]
    assert digest != code_hash(*MAKERS), "a method that is found must enter the hash of the code"


def test_the_order_does_not_depend_on_which_file_was_read_first():
    names = list_methods()
    assert names[: len(READING_ORDER)] == list(READING_ORDER)
    assert names[-1] == "compose"
    assert names[len(READING_ORDER) : -1] == sorted(names[len(READING_ORDER) : -1])


def test_every_module_that_registers_a_method_holds_it_under_its_own_name():
    for name in list_methods():
        cls = method_class(name)
        assert cls.name == name
        assert type(create_method(name)) is cls


def test_a_name_that_is_taken_is_refused_with_both_places():
    @dataclass(frozen=True)
    class Other(Method):
        name: ClassVar[str] = "naclip"
        paper: ClassVar[Paper] = Paper(title="Other", authors="", venue="", arxiv="")

    with pytest.raises(InputError, match=r"'naclip' is defined twice: in ovss\.methods\.naclip and in"):
        register(Other)
    assert method_class("naclip").__module__ == "ovss.methods.naclip"


@pytest.mark.parametrize("value", [10**30, -(10**30), 2**63])
def test_whole_numbers_that_fit_no_tensor_are_refused(value):
    with pytest.raises(InputError, match="sigma"):
        create_method("naclip", sigma=value)
