"""A method of one's own through the public door: plain fields work, and what is missing is said in one line."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from method_helpers import random_backbone
from paths import ROOT

import ovss
from ovss.ingredients import attend
from ovss.methods import registry

PAPER = ovss.Paper(title="A title", authors="", venue="here", arxiv="")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


@dataclass(frozen=True)
class Base(ovss.Method):
    name = "mine"
    paper = PAPER

    def mix(self, tokens, values=None):
        return attend(tokens.qkv(tokens.depth), "vv", values=values)


def tokens():
    backbone = random_backbone(depth=2, heads=2, width=16, embed=8)
    return backbone.encode_tokens(torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0)))


def test_a_plain_field_is_a_hyperparameter():
    @ovss.register
    @dataclass(frozen=True)
    class Mine(Base):
        sigma: float = 2.0
        words: tuple[str, ...] = field(default_factory=lambda: ("a", "b"))
        anything: Any = None
        many: list[int] = field(default_factory=list)

    assert ovss.create_method("mine").label == "mine"
    changed = ovss.create_method("mine", sigma=3.0, words=["c"], anything=7)
    assert changed.label == "mine(sigma=3.0, words=('c',), anything=7)"
    assert changed.parameters == {"sigma": 3.0, "words": ["c"], "anything": 7, "many": []}
    for parameters, message in [
        ({"sigma": "wide"}, "mine: sigma='wide' is not of type float"),
        ({"words": (1,)}, r"mine: words=\(1,\) is not of type tuple\[str, \.\.\.\]"),
        ({"many": 3}, r"mine: many=3 is not of type list\[int\]"),
    ]:
        with pytest.raises(ovss.InputError, match=message):
            ovss.create_method("mine", **parameters)


def test_annotations_that_are_text_are_read():
    namespace: dict[str, Any] = {"Base": Base, "dataclass": dataclass, "__name__": __name__}
    text = "from __future__ import annotations\n@dataclass(frozen=True)\nclass Mine(Base):\n    sigma: float = 2.0\n"
    exec(text, namespace)
    assert namespace["Mine"](sigma=3).sigma == 3
    with pytest.raises(ovss.InputError, match="sigma='3' is not of type float"):
        namespace["Mine"](sigma="3")


def without_name():
    @dataclass(frozen=True)
    class Mine(ovss.Method):
        paper = PAPER

    return Mine


def without_paper():
    @dataclass(frozen=True)
    class Mine(ovss.Method):
        name = "mine"

    return Mine


def with_a_name_that_is_a_field():
    @dataclass(frozen=True)
    class Mine(ovss.Method):
        name: str = "mine"
        paper: ClassVar[ovss.Paper] = PAPER

    return Mine


def without_dataclass():
    class Mine(Base):
        sigma: float = 2.0

    return Mine


def without_default():
    @dataclass(frozen=True)
    class Mine(Base):
        sigma: float

    return Mine


def of_another_kind():
    class Mine:
        name = "mine"

    return Mine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_name, 'Mine\' needs a name of letters, digits and any of _.+-: write name = "mine" in it'),
        (without_paper, "Mine' needs a paper: write paper = ovss.Paper(title="),
        (with_a_name_that_is_a_field, "'name' is a parameter as it stands; leave out its type, or write it ClassVar"),
        (without_dataclass, "'sigma' is no parameter yet; write @dataclass(frozen=True) right above the class"),
        (without_default, "parameter 'sigma' needs a default"),
        (of_another_kind, "must inherit from ovss.Method to be a method"),
    ],
)
def test_what_a_class_lacks_is_said_in_one_line_before_anything_runs(make, message):
    with pytest.raises(ovss.InputError) as caught:
        ovss.register(make())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "mine" not in ovss.list_methods()


def test_a_class_that_is_used_unregistered_is_held_to_the_same():
    with pytest.raises(ovss.InputError, match="needs a paper"):
        without_paper()()
    assert ovss.evaluate(ovss.load_backbone(device="cpu"), Base(), "scenes", limit=1).summary()["method"][0] == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[:, 1:],
            r"must be \(2, 15, 8\): images, patches of the 3 x 5 grid .*\(2, 14, 8\)",
        ),
        (lambda rows: rows.masked_fill(rows > 0, torch.nan), "hold NaN or infinity in 30 rows"),
        (lambda rows: 10 * rows, "rows of unit length, one has length 10; end with torch.nn.functional.normalize"),
        (lambda rows: None, "must return a tensor, not NoneType"),
    ],
)
def test_rows_that_are_no_patch_embeddings_are_refused_where_they_are_scored(change, message):
    @dataclass(frozen=True)
    class Mine(Base):
        def patch_embeddings(self, tokens):
            return change(super().patch_embeddings(tokens))

    with pytest.raises(ovss.InputError, match="method 'mine': patch_embeddings .*" + message) as caught:
        Mine().patch_scores(tokens(), torch.eye(3, 8))
    assert "\n" not in str(caught.value)


def test_rows_in_half_precision_are_scored():
    @dataclass(frozen=True)
    class Mine(Base):
        def patch_embeddings(self, tokens):
            return super().patch_embeddings(tokens).half()

    seen, text = tokens(), torch.eye(3, 8)
    torch.testing.assert_close(Mine().patch_scores(seen, text), Base().patch_scores(seen, text), atol=1e-3, rtol=0)


def test_the_example_of_the_readme_is_a_method_that_passes_all_property_tests():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## A method of your own")[1]
    code = section.split("```python\n")[1].split("```")[0]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(code, namespace)
    assert "mine" in ovss.list_methods()
    assert ovss.testing.check_method(namespace["Mine"])


def test_a_cell_that_is_run_twice_replaces_its_method():
    def cell(sigma):
        @ovss.register
        @dataclass(frozen=True)
        class Mine(Base):
            width: float = ovss.parameter(sigma, "width", "ours")

    cell(1.0)
    cell(2.0)
    assert ovss.create_method("mine").parameters == {"width": 2.0}
