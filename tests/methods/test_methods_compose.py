"""`compose` reproduces the named methods and lets their ingredients be crossed."""

import pytest
import torch
from method_helpers import random_backbone

from ovss.methods import create_method

BARE = {"residual": False, "ffn": False}
CALIBRATED = {"kernels": ("kk", "similar"), "weights": (0.5, 0.5), **BARE, "drop_cls": True, "w_cls": 0.3}
SMOOTHED = {"aggregate_pre": True, "aggregate_post": True}
POINTS = [
    ("clip", {}, {}),
    ("clip", BARE, BARE),
    ("maskclip", {}, {"kernels": ("identity",), **BARE}),
    ("sclip", {}, {"kernels": ("qq", "kk")}),
    ("sclip", BARE, {"kernels": ("qq", "kk"), **BARE}),
    ("clearclip", {}, {"kernels": ("qq",), **BARE}),
    ("naclip", {}, {"kernels": ("kk",), "sigma": 5.0, **BARE}),
    ("naclip", {"sigma": 2.0, "similarity": "qk"}, {"kernels": ("qk",), "sigma": 2.0, **BARE}),
    ("naclip", {"omega": False, "arch": "vanilla"}, {"kernels": ("kk",)}),
    ("naclip", {"similarity": "none"}, {"kernels": ("neighbours",), **BARE}),
    ("resclip", {"omega": False}, {"kernels": ("kk", "middle"), "weights": (1.2, 0.8), **BARE}),
    ("cliptrase", {}, {"kernels": ("qq", "kk", "vv"), "naming": "vote"}),
    (
        "scclip",
        {"two_pass": False},
        {**CALIBRATED, "repair": "kdist", "aggregate_pre": True, "aggregate_post": True},
    ),
    ("scclip", {"two_pass": False, "repair": False, "aggregate": False}, CALIBRATED),
    (
        "scclip",
        {"two_pass": False, "enhance": False, "aggregate_pre": False, "detector": "norm"},
        {**CALIBRATED, "kernels": ("kk",), "weights": None, "repair": "norm", "aggregate_post": True},
    ),
    (
        "scclip",
        {},
        {**CALIBRATED, "repair": "kdist", "aggregate_pre": True, "aggregate_post": True, "second_pass": True},
    ),
    (
        "clipseg_aaai25",
        {"attention": ("coh",)},
        {"kernels": ("coherent",), **BARE, "drop_cls": True, "value_blocks": 3},
    ),
    (
        "resclip",
        {"middle_blocks": (3, 5), "omega": False, "lam": 1.0},
        {"kernels": ("middle",), "middle_blocks": (3, 5), **BARE},
    ),
    (
        "scclip",
        {"fused_blocks": (2, 7)},
        {**CALIBRATED, **SMOOTHED, "repair": "kdist", "second_pass": True, "fused_blocks": (2, 7)},
    ),
    ("pearl", {}, {"kernels": ("polar",), **BARE}),
    ("pearl", {"arch": "vanilla"}, {"kernels": ("polar",)}),
    ("cliper", {}, {"kernels": ("balanced",), **BARE}),
    (
        "dihclip",
        {"heads": 2},
        {**CALIBRATED, **SMOOTHED, "heads": 2, "similarity": "sharpened", "second_pass": True},
    ),
    (
        "sfp",
        {},
        {
            **CALIBRATED,
            **SMOOTHED,
            "kernels": ("kk", "qq", "similar"),
            "weights": (1 / 3, 1 / 3, 1 / 3),
            "repair": "som",
            "similarity": "kept",
            "second_pass": "similar",
        },
    ),
]


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone()
    return backbone.encode_tokens(torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("name", "parameters", "ingredients"), POINTS)
def test_a_named_method_is_a_point_of_the_space(tokens, name, parameters, ingredients):
    named, composed = create_method(name, **parameters), create_method("compose", **ingredients)
    torch.testing.assert_close(composed.patch_embeddings(tokens), named.patch_embeddings(tokens), atol=2e-6, rtol=0)
    scores = torch.randn(2, 5, 48, 80, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(composed.refine_scores(scores, tokens), named.refine_scores(scores, tokens))
    assert composed.regions == named.regions
    assert composed.layers(12) <= named.layers(12) | {11, *create_method("scclip").layers(12)}


@pytest.mark.parametrize(
    "change",
    [
        {"kernels": ("vv",)},
        {"kernels": ("qk", "similar")},
        {"sigma": 1.0},
        {"residual": False},
        {"ffn": False},
        {"drop_cls": True},
        {"w_cls": 0.5},
        {"repair": "lof"},
        {"aggregate_pre": True},
        {"aggregate_post": True},
        {"second_pass": True},
        {"value_blocks": 2},
        {"weights": (2.0,)},
        {"kernels": ("polar",)},
        {"kernels": ("fused",)},
        {"kernels": ("keys",)},
        {"kernels": ("balanced",), "drop_cls": True},
        {"heads": 2},
        {"repair": "som"},
        {"repair": "norm"},
        {"repair": "kdist"},
        {"kernels": ("similar",), "similarity": "kept"},
        {"kernels": ("similar",), "similarity": "sharpened"},
        {"second_pass": "similar"},
    ],
)
def test_every_ingredient_changes_the_embeddings(tokens, change):
    plain = create_method("compose").patch_embeddings(tokens)
    crossed = create_method("compose", **change).patch_embeddings(tokens)
    assert torch.isfinite(crossed).all()
    assert (crossed - plain).abs().max() > 1e-3


def test_beta_decides_what_is_aggregated(tokens):
    low, high = (
        create_method("compose", aggregate_pre=True, beta=beta).patch_embeddings(tokens) for beta in (-1.0, 0.8)
    )
    assert (low - high).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernels": ()}, "kernels=() is empty"),
        ({"kernels": ("qx",)}, "is none of qq, kk"),
        ({"weights": (1.0, 2.0)}, "must be 1 numbers, one per kernel"),
        ({"weights": (0.0,)}, "is outside (0, inf)"),
    ],
)
def test_ingredients_that_do_not_exist_are_refused(parameters, message):
    with pytest.raises(ValueError, match=r"compose: ") as caught:
        create_method("compose", **parameters)
    assert message in str(caught.value)


def test_more_value_blocks_than_the_model_has_are_refused():
    with pytest.raises(ValueError, match=r"value_blocks=9 is outside 1\.\.6"):
        create_method("compose", value_blocks=9).layers(6)


def test_the_keys_of_all_blocks_attend_as_in_the_formula(tokens):
    maps = create_method("compose", kernels=("keys",)).mix(tokens, torch.eye(61).expand(2, 4, 61, 61))
    keys = [tokens.qkv(block)[1].double() for block in range(1, 13)]
    expected = sum(torch.softmax(k @ k.mT / k.shape[-1] ** 0.5, dim=-1) for k in keys) / 12
    torch.testing.assert_close(maps.double(), expected, atol=1e-5, rtol=0)


def test_fused_queries_and_keys_are_those_of_the_sum_of_the_named_blocks(tokens):
    maps = create_method("compose", kernels=("fused",), fused_blocks=(3, 8)).mix(
        tokens, torch.eye(61).expand(2, 4, 61, 61)
    )
    q, k, _ = (part.double() for part in tokens.block(12).qkv(tokens.hidden(3) + tokens.hidden(8)))
    torch.testing.assert_close(maps.double(), torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["middle_blocks", "fused_blocks"])
def test_a_named_block_that_the_model_has_not_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=9 is outside 1\.\.6"):
        create_method("compose", kernels=("middle", "fused"), **{name: (9,)}).layers(6)
