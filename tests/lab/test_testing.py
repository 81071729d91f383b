"""`ovss.testing.check_method`: methods of the package pass, and each fault is said in one line."""

import importlib.util
import re
from dataclasses import dataclass

import pytest
import torch
from method_helpers import NEEDED

import ovss
from ovss import Method, Paper, parameter
from ovss.methods import list_methods
from ovss.methods.base import unit
from ovss.testing import check_method

PAPER = Paper(title="A title", authors="", venue="here", arxiv="")


@dataclass(frozen=True)
class Values(Method):
    """Values of the last block, normalised."""

    name = "values"
    paper = PAPER
    power: float = parameter(1.0, "exponent", "ours", "(0, inf)")

    def rows(self, tokens):
        block = tokens.block(tokens.depth)
        return unit(tokens.read_out(block.merge(tokens.qkv(tokens.depth)[2][:, :, 1:] * self.power)))

    def patch_embeddings(self, tokens):
        return self.rows(tokens)


def faults(kind):
    with pytest.raises(ovss.InputError) as caught:
        check_method(kind)
    head, *lines = str(caught.value).split("\n  ")
    assert head.startswith("method 'values' does not hold what a method promises")
    assert not any("\n" in line for line in lines)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("name", list_methods())
def test_every_method_of_the_package_passes(name):
    assert len(check_method(name, **NEEDED.get(name, {}))) == 8


def test_a_class_an_instance_and_a_name_are_taken():
    assert check_method(Values) == check_method(Values(power=2.0)) == check_method("maskclip")


def test_it_is_one_function_under_both_of_its_names():
    assert ovss.testing.check_method is check_method
    assert importlib.util.find_spec("ovss.testing") is not None
    with pytest.raises(ImportError):
        from ovss.testing import nothing  # noqa: F401  # pyright: ignore


def over(change):
    """`Values` whose rows are changed."""

    @dataclass(frozen=True)
    class Changed(Values):
        def patch_embeddings(self, tokens):
            return change(self.rows(tokens), tokens)

    return Changed


CALLS = iter(range(1000))
BROKEN = {
    "mixes the images of a batch": (
        lambda x, t: unit(x - 0.5 * x.mean(0)),
        "differs by .* between a batch and its images",
    ),
    "differs from call to call": (lambda x, t: unit(x + 0.1 * next(CALLS)), "differs by .* when it is called again"),
    "keeps CLS": (lambda x, t: torch.cat([x[:, :1], x], dim=1), r"must be \(3, 35, 16\): .* are \(3, 36, 16\)"),
    "is not normalised": (lambda x, t: 3 * x, "rows of unit length, one has length 3;"),
    "has NaN": (lambda x, t: x.masked_fill(x > 0.5, torch.nan), "hold NaN or infinity in"),
    "reads a block too many": (lambda x, t: unit(x + 0 * t.hidden(t.depth).sum()), "hidden state 6, which layers"),
    "takes the grid as square": (lambda x, t: x.unflatten(1, (t.grid[0], t.grid[0])).flatten(1, 2), "RuntimeError"),
    "returns an array": (lambda x, t: x.numpy(), "must return a tensor, not ndarray"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_method_fails_that(name):
    change, line = BROKEN[name]
    found = faults(over(change))
    assert any(re.search(line, text) for text in found), found


def test_a_shared_state_that_is_written_to_is_named():
    def double(rows, tokens):
        tokens.hidden(tokens.depth - 1).mul_(2)
        return rows

    assert any("it changes hidden state 5, which all methods share" in line for line in faults(over(double)))


def test_weights_that_are_written_to_are_named():
    def spoil(rows, tokens):
        tokens.block(1).module.ln_1.weight.data.add_(1)
        return rows

    assert any("it changes the weights of the model" in line for line in faults(over(spoil)))


def test_a_parameter_without_description_and_an_empty_paper_are_named():
    @dataclass(frozen=True)
    class Plain(Values):
        paper = Paper(title="", authors="", venue="here", arxiv="")
        sigma: float = 2.0

    lines = faults(Plain)
    assert lines[0] == "paper: 'title' is empty"
    assert lines[1].startswith("parameter 'sigma' is not documented; write sigma = ovss.parameter(")
    assert len(lines) == 2
