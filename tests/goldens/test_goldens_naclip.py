"""NACLIP, plain CLIP and SCLIP against outputs of the NACLIP authors' code."""

import numpy as np
import pytest
import torch
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.ingredients import attention_map, gaussian_window, logit_bound
from ovss.methods import create_method

VARIANTS = {
    "reduced_naclip": ("naclip", {}),
    "reduced_nonly": ("naclip", {"similarity": "none"}),
    "reduced_kk": ("naclip", {"omega": False}),
    "reduced_vanilla": ("naclip", {"similarity": "qk", "omega": False}),
    "vanilla_naclip": ("naclip", {"arch": "vanilla"}),
    "vanilla_nonly": ("naclip", {"arch": "vanilla", "similarity": "none"}),
    "vanilla_kk": ("naclip", {"arch": "vanilla", "omega": False}),
    "vanilla_csa": ("sclip", {}),
    "vanilla_vanilla": ("clip", {}),
}
STRATEGIES = {
    "naclip": ("naclip", {}),
    "nonly": ("naclip", {"similarity": "none"}),
    "kk": ("naclip", {"omega": False}),
    "csa": ("sclip", {"residual": False, "ffn": False}),
    "vanilla": ("clip", {"residual": False, "ffn": False}),
}


@pytest.fixture(scope="module")
def tokens():
    backbone = golden_backbone("tiny")
    return backbone.encode_tokens(golden_pixels(backbone, "astronaut_square"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_tokens_equal_the_authors(tokens, variant):
    name, parameters = VARIANTS[variant]
    method = create_method(name, **parameters)
    expected = golden_arrays("naclip/tiny_astronaut_square.npz")[f"{variant}_patch_features"]
    got = tokens.read_out(method.stream(tokens))[0]
    assert relative_difference(got, expected) < 1e-4
    rows = torch.nn.functional.normalize(torch.from_numpy(expected[1:]), dim=-1)
    assert (method.patch_embeddings(tokens)[0] - rows).abs().max() < 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_attention_of_the_last_block(tokens, strategy):
    steps = golden_arrays("naclip/tiny_steps.npz")
    assert relative_difference(tokens.hidden(11)[0], steps["last_block_input"]) < 1e-5
    name, parameters = STRATEGIES[strategy]
    # Without residual and FFN the stream is the attention output alone.
    got = create_method(name, **parameters).stream(tokens)[0]
    assert relative_difference(got, steps[f"attn_out_{strategy}"]) < 1e-4


def test_attention_maps_behind_maskclip_and_clearclip(tokens):
    steps, rows = golden_arrays("naclip/tiny_steps.npz"), golden_arrays("naclip/tiny_steps.npz")["attn_rows"]
    qkv = tokens.qkv(12)
    assert relative_difference(attention_map(qkv, "kk")[0][:, rows], steps["attn_kk"]) < 1e-4
    assert relative_difference(attention_map(qkv, "qk")[0][:, rows], steps["attn_vanilla"]) < 1e-4
    correlative = attention_map(qkv, "qq") + attention_map(qkv, "kk")
    assert relative_difference(correlative[0][:, rows], steps["attn_csa"]) < 1e-4
    block = tokens.block(12)
    queries = block.merge(attention_map(qkv, "qq") @ qkv[2])
    assert relative_difference(create_method("clearclip").stream(tokens), queries.numpy()) < 1e-5
    assert relative_difference(create_method("maskclip").stream(tokens), block.merge(qkv[2]).numpy()) < 1e-6


def test_neighbourhood_enters_the_maps(tokens):
    steps = golden_arrays("naclip/tiny_steps.npz")
    rows, window = steps["attn_rows"], gaussian_window((14, 14), 5.0, torch.device("cpu"))
    qkv = tokens.qkv(12)
    weights = torch.softmax(qkv[1] @ qkv[1].mT / 4 + window, dim=-1)[0]
    assert relative_difference(weights[:, rows], steps["attn_naclip"]) < 1e-4
    alone = torch.softmax(logit_bound(qkv) * window, dim=-1)[rows].expand(4, -1, -1)
    assert relative_difference(alone, steps["attn_nonly"]) < 1e-4


def test_cls_is_plain_clips_image_embedding(tokens):
    expected = torch.from_numpy(golden_arrays("naclip/tiny_steps.npz")["cls_embedding_vanilla"])
    got = create_method("naclip").class_scores(tokens, torch.eye(48))[0]
    assert (got - torch.nn.functional.normalize(expected, dim=0)).abs().max() < 1e-5


@pytest.mark.parametrize("picture", ["chelsea_wide", "coffee_tall", "chelsea_small"])
def test_position_embedding_of_other_grids(picture):
    backbone = golden_backbone("tiny")
    height, width = golden_pixels(backbone, picture).shape[-2:]
    expected = golden_arrays("naclip/tiny_steps.npz")[f"pos_{height}x{width}"]
    got = backbone.position_embedding((height // 16, width // 16), "scale")
    assert relative_difference(got, expected) < 1e-5


@pytest.mark.parametrize("std", [1, 2, 10])
@pytest.mark.parametrize(("strategy", "similarity"), [("naclip", "kk"), ("nonly", "none")])
def test_width_of_the_neighbourhood(tokens, std, strategy, similarity):
    expected = golden_arrays("naclip/tiny_steps.npz")[f"features_reduced_{strategy}_std{std}"]
    method = create_method("naclip", sigma=float(std), similarity=similarity)
    assert relative_difference(tokens.read_out(method.stream(tokens))[0], expected) < 1e-4


@pytest.mark.parametrize(("grid", "sigma", "key"), [((5, 7), 5.0, "gauss_5x7_std5"), ((3, 4), 1.0, "gauss_3x4_std1")])
def test_gaussian_window_equals_the_authors(grid, sigma, key):
    expected = golden_arrays("naclip/tiny_steps.npz")[key]
    np.testing.assert_allclose(gaussian_window(grid, sigma, torch.device("cpu")), expected, atol=1e-6)
