"""The attention of a method is its mix applied to the identity, and it is the attention that the papers define."""

import pytest
import torch
from method_helpers import NEEDED, golden_arrays, golden_backbone, golden_pixels, random_backbone, relative_difference

from ovss.analysis import method_attention
from ovss.analysis.mixing import METHODS, has_attention
from ovss.errors import InputError
from ovss.methods import create_method, list_methods

CALIBRATED = {"kernels": ("kk", "similar"), "weights": (0.5, 0.5), "repair": "kdist", "drop_cls": True}
VARIANTS = [
    *((name, NEEDED.get(name, {})) for name in METHODS),
    ("naclip", {"similarity": "none"}),
    ("naclip", {"similarity": "qk", "omega": False}),
    ("resclip", {"omega": False, "similarity": "vv"}),
    ("scclip", {"enhance": False}),
    ("clipseg_aaai25", {"attention": ("self",)}),
    ("compose", {"kernels": ("neighbours", "middle", "identity")}),
    ("compose", CALIBRATED),
    ("sfp", {"repair": False}),
    ("dihclip", {"heads": 2}),
    ("pearl", {"arch": "vanilla", "solver": "svd"}),
    ("cliper", {"layer": 4}),
    ("glaclip", {"window_beta": True, "size_gamma": False}),
]
VARIANT_IDS = [f"{name}{number}" for number, (name, _) in enumerate(VARIANTS)]
AUTHORS_MAPS = {
    "attn_naclip": ("naclip", {}),
    "attn_nonly": ("naclip", {"similarity": "none"}),
    "attn_kk": ("naclip", {"omega": False}),
    "attn_csa": ("sclip", {}),
    "attn_vanilla": ("clip", {}),
}


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone()
    return backbone.encode_tokens(torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def astronaut():
    backbone = golden_backbone("tiny")
    return backbone.encode_tokens(golden_pixels(backbone, "astronaut_square"))


def values_of(method, tokens, seed):
    size = 35 + (not method.patches_only)
    return torch.randn(2, 4, size, 9, generator=torch.Generator().manual_seed(seed))


def whole_map(method, tokens):
    size = tokens.grid[0] * tokens.grid[1] + (not method.patches_only)
    return method.mix(tokens, torch.eye(size).expand(tokens.batch, tokens.backbone.heads, size, size))


def test_every_method_but_the_dual_paths_and_the_one_with_another_token_has_one_map():
    assert set(list_methods()) - set(METHODS) == {"clip_surgery", "gem", "registers"}
    for name in list_methods():
        assert has_attention(create_method(name, **NEEDED.get(name, {}))) == (name in METHODS)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=VARIANT_IDS)
def test_mixing_is_linear_in_the_values(tokens, name, parameters):
    method = create_method(name, **parameters)
    first, second = values_of(method, tokens, 1), values_of(method, tokens, 2)
    together = method.mix(tokens, 2 * first - 3 * second)
    torch.testing.assert_close(
        together, 2 * method.mix(tokens, first) - 3 * method.mix(tokens, second), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=VARIANT_IDS)
def test_the_mix_of_the_identity_gives_back_every_mix(tokens, name, parameters):
    method = create_method(name, **parameters)
    weights, values = whole_map(method, tokens), values_of(method, tokens, 3)
    torch.testing.assert_close(weights @ values, method.mix(tokens, values), atol=1e-5, rtol=0)
    assert method.mix(tokens).shape == (2, 4, weights.shape[-1], 16)
    patches = weights if method.patches_only else weights[..., 1:, 1:]
    shown = method_attention(tokens, method)
    torch.testing.assert_close(shown, patches / patches.sum(-1, keepdim=True))


@pytest.mark.parametrize("name", ["clip", "maskclip", "sclip", "clearclip", "naclip", "resclip", "cliptrase"])
def test_the_last_block_of_a_single_pass_is_its_map_applied_to_the_values(tokens, name):
    method = create_method(name, **NEEDED.get(name, {}))
    y = tokens.block(12).merge(whole_map(method, tokens) @ tokens.qkv(12)[2])
    if name in ("clip", "sclip", "cliptrase"):
        y = y + tokens.hidden(11)
        y = y + tokens.block(12).ffn(y)
    expected = torch.nn.functional.normalize(tokens.read_out(y[:, 1:]), dim=-1)
    torch.testing.assert_close(method.patch_embeddings(tokens), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("key", AUTHORS_MAPS)
def test_maps_equal_those_of_the_naclip_authors(astronaut, key):
    steps = golden_arrays("naclip/tiny_steps.npz")
    name, parameters = AUTHORS_MAPS[key]
    maps = whole_map(create_method(name, **parameters), astronaut)[0]
    expected = steps[key]
    got = maps[:, torch.from_numpy(steps["attn_rows"])]
    assert relative_difference(got if expected.ndim == 3 else got[0], expected) < 1e-4


def test_the_map_of_cliptrase_equals_the_authors():
    from method_helpers import encode_crop

    maps = whole_map(create_method("cliptrase"), encode_crop("crop_astronaut_224"))[0]
    expected = golden_arrays("cliptrase/attention_astronaut_224.npz")["block12_weights_per_head"]
    assert relative_difference(maps, expected) < 1e-4


@pytest.mark.parametrize("name", ["gem", "clip_surgery", "registers"])
def test_a_method_without_one_map_is_refused_by_name(tokens, name):
    with pytest.raises(InputError, match=f"method '{name}' has no single attention map"):
        create_method(name, **NEEDED.get(name, {})).mix(tokens)
    with pytest.raises(InputError, match=f"method '{name}' .* naclip, .* have"):
        method_attention(tokens, create_method(name, **NEEDED.get(name, {})))
