"""NaN and infinity, in weights and in what is computed from them, end a run and are named."""

import numpy as np
import pytest
import torch
from evaluation_helpers import METHODS, quick_protocol
from safetensors.torch import load_file, save_file

import ovss
from ovss.backbone.finite import Finite
from ovss.cli import main
from ovss.errors import InputError
from ovss.methods import default_methods

FFN = "visual.transformer.resblocks.{}.mlp.c_proj.weight"


@pytest.fixture
def poisoned(checkpoint, tmp_path):
    """A checkpoint whose tensor `name` has been changed by a function."""

    def write(name, change):
        weights = load_file(checkpoint)
        weights[name] = change(weights[name].clone())
        save_file(weights, tmp_path / "poisoned.safetensors")
        return str(tmp_path / "poisoned.safetensors")

    return write


def one_value(value):
    def change(tensor):
        tensor.view(-1)[3] = value
        return tensor

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [FFN.format(2), "token_embedding.weight"])
def test_a_weight_that_is_not_finite_is_refused_when_the_model_is_loaded(poisoned, name, value):
    file = poisoned(name, one_value(value))
    with pytest.raises(InputError, match=rf"poisoned\.safetensors': tensor '{name}' holds NaN or infinity in 1 of"):
        ovss.load_backbone("tiny", file, device="cpu", dtype="float32")


def test_a_weight_beyond_float16_is_refused_in_float16_only(poisoned):
    file = poisoned(FFN.format(2), one_value(1e5))
    ovss.load_backbone("tiny", file, device="cpu", dtype="float32")
    with pytest.raises(InputError, match=r"in 1 of \d+ values; float16 ends at 65504, so try bfloat16 or float32"):
        ovss.load_backbone("tiny", file, device="cpu", dtype="float16")


@pytest.fixture
def overflowing(poisoned):
    """Finite weights whose hidden states leave float16 in block 3 of 8."""
    return poisoned(FFN.format(2), lambda tensor: tensor * (6e4 / tensor.abs().max()))


@pytest.mark.slow
def test_hidden_states_that_overflow_are_named_by_their_first_block(overflowing, data, tmp_path):
    half = ovss.load_backbone("tiny", overflowing, device="cpu", dtype="float16")
    message = r"hidden states of tiny \(poisoned.safetensors\) hold NaN or infinity from block 3 of 8 on; float16 ends"
    for method in default_methods():
        with pytest.raises(InputError, match=message):
            ovss.Segmenter(half, method, "cat; sofa", protocol=quick_protocol())(data[0].image)
    with pytest.raises(InputError, match=message):
        ovss.evaluate(half, METHODS, data, protocol=quick_protocol(), out=tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.npz"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_same_weights_are_used_where_they_do_not_overflow(overflowing, data):
    full = ovss.load_backbone("tiny", overflowing, device="cpu", dtype="float32")
    assert ovss.evaluate(full, METHODS, data, protocol=quick_protocol(), limit=1).counts("clip").sum() > 0


def test_the_command_line_says_it_in_one_line(overflowing, folder, tmp_path, capsys):
    (tmp_path / "quick.toml").write_text('extends = "study"\ntemplates = ["a {}."]\n')
    command = ["evaluate", "--data", "folder", "--root", str(folder), "--methods", "clip", "--device", "cpu"]
    command += ["--protocol", str(tmp_path / "quick.toml"), "--pretrained", overflowing, "--dtype", "float16"]
    assert main(command) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert sum("ovss: error: hidden states of tiny" in line for line in output.err.splitlines()) == 1


def test_text_embeddings_that_overflow_are_named_by_word_and_block(poisoned, data, monkeypatch, tmp_path):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    name = "transformer.resblocks.1.mlp.c_proj.weight"
    file = poisoned(name, lambda tensor: tensor * (6e4 / tensor.abs().max()))
    half = ovss.load_backbone("tiny", file, device="cpu", dtype="float16")
    message = r"the embedding of 'cat' is not finite: block 2 of the text tower of tiny .* gives NaN or infinity"
    with pytest.raises(InputError, match=message):
        ovss.Segmenter(half, "clip", "cat; sofa", protocol=quick_protocol())(data[0].image)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_method_whose_own_scores_are_not_finite_is_named(checkpoint):
    backbone = ovss.load_backbone("tiny", str(checkpoint), device="cpu", dtype="float32")
    windows = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32))
    tokens = backbone.encode_tokens(windows)
    good = ovss.create_method("clip").patch_scores(tokens, torch.eye(backbone.embed_dim)[:2])
    finite = Finite()
    finite.ask(tokens, {"good": good}, lambda: windows, "scale")
    finite.check()
    bad = good.clone()
    bad[0, 1, 2, 3] = float("nan")
    finite.ask(tokens, {"good": good, "bad": bad}, lambda: windows, "scale")
    with pytest.raises(InputError, match="method 'bad' makes scores that are not finite"):
        finite.check()
