"""`compose` reproduces the named methods and lets their ingredients be crossed."""

import pytest
import torch
from method_helpers import random_backbone

from ovss.methods import create_method

BARE = {"residual": False, "ffn": False}
CALIBRATED = {"kernels": ("kk", "similar"), "weights": (0.5, 0.5), **BARE, "drop_cls": True, "w_cls": 0.3}
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
