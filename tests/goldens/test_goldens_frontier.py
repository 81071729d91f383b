"""Methods of 2025 and 2026 on one backbone pass against outputs of their authors' code."""

import dataclasses
import json
from functools import lru_cache

import pytest
import torch
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.backbone import JoinedTokens
from ovss.ingredients import Blur, aggregation_weights, attention_map, cosine_map, sharpest_heads
from ovss.methods import create_method

CASES = [
    "sfp_tiny_astronaut_square",
    "sfp_tiny_astronaut_square_pm-L2",
    "sfp_tiny_astronaut_square_res_cls-0.005",
    "sfp_tiny_chelsea_small-full",
    "dihclip_tiny_astronaut_square_topk-2",
    "dihclip_tiny_chelsea_wide-full",
    "pearl_tiny_astronaut_square",
    "pearl_tiny_astronaut_square_solver-svd",
    "cliper_tiny_astronaut_square",
    "cliper_tiny_chelsea_wide-crop_select--2",
]


@lru_cache
def load(case):
    """Arrays, method and backbone pass of a case; `@crop` is the top-left 224, `@full` is cut to whole patches."""
    arrays = golden_arrays(f"frontier/{case}.npz")
    described = json.loads(str(arrays["case"]))
    picture, _, part = described["picture"].partition("@")
    backbone = golden_backbone(described["weights"])
    pixels = golden_pixels(backbone, picture)
    height, width = (224, 224) if part == "crop" else (side // 16 * 16 for side in pixels.shape[-2:])
    tokens = backbone.encode_tokens(pixels[..., :height, :width])
    return arrays, create_method(described["method"], **described["parameters"]), tokens


def unit_rows(expected):
    return torch.nn.functional.normalize(torch.from_numpy(expected).float(), dim=-1)


def merged(tokens, mixed):
    return tokens.block(tokens.depth).merge(mixed)[0]


@pytest.mark.parametrize("case", CASES)
def test_patch_embeddings_equal_the_authors(case):
    arrays, method, tokens = load(case)
    got = method.patch_embeddings(tokens)[0]
    assert (got - unit_rows(arrays["features"])).abs().max() < 1e-4


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("sfp")])
def test_sfp_finds_the_same_outliers_and_similarities(case):
    arrays, method, tokens = load(case)
    assert method.find_outliers(tokens)[0].nonzero().flatten().tolist() == arrays["outliers"].tolist()
    _, similarity = method.purify(tokens)
    assert int((similarity != 0).sum()) == int(arrays["n_kept"][0])


def test_every_step_of_sfp():
    arrays, method, tokens = load("sfp_tiny_astronaut_square")
    attention = attention_map(tokens.qkv(11), "qk").mean(1)[0]
    assert relative_difference(5 * 0.3 * attention[0, 1:], arrays["cls_to_patch"]) < 1e-4
    assert relative_difference(attention.diagonal()[1:], arrays["patch_self"]) < 1e-4
    x, similarity = method.purify(tokens)
    assert relative_difference(similarity[0, torch.from_numpy(arrays["rows"])], arrays["similarity_rows"]) < 1e-4
    assert abs(float(similarity.mean()) - float(arrays["similarity_mean"][0])) < 1e-6
    assert relative_difference(x[0], arrays["pre_aggregated"]) < 1e-4
    first = merged(tokens, method.mix(tokens))
    assert relative_difference(first, arrays["attention_out"]) < 1e-4
    weights = aggregation_weights(cosine_map(tokens.hidden(4)[:, 1:]), 0.4)[0]
    assert relative_difference(weights @ (first + 0.3 * tokens.hidden(11)[0, :1]), arrays["post_aggregated"]) < 1e-4


def test_every_step_of_dihclip():
    arrays, method, tokens = load("dihclip_tiny_astronaut_square_topk-2")
    maps = attention_map(tokens.qkv(9), "qk")
    entropy = -(maps * torch.log2(maps + 1e-6)).sum((-2, -1))[0]
    assert relative_difference(entropy, arrays["entropy_block9"]) < 1e-4
    assert sharpest_heads(maps, 2)[0].flatten().nonzero().flatten().tolist() == arrays["heads_block9"].tolist()
    similarity = method.similarity(tokens)
    thresholded = similarity.masked_fill(similarity < 0.4, 0)[0, torch.from_numpy(arrays["rows"])]
    assert relative_difference(thresholded, arrays["thresholded_similarity_rows"]) < 1e-4
    aggregated = aggregation_weights(similarity, 0.4) @ tokens.hidden(11)[:, 1:]
    assert relative_difference(aggregated[0], arrays["pre_aggregated"]) < 1e-4
    first = merged(tokens, method.mix(tokens))
    assert relative_difference(first, arrays["attention_out"]) < 1e-4
    weights = aggregation_weights(cosine_map(tokens.hidden(4)[:, 1:]), 0.4)[0]
    assert relative_difference(weights @ (first + 0.3 * tokens.hidden(11)[0, :1]), arrays["post_aggregated"]) < 1e-4


def test_every_step_of_pearl():
    arrays, method, tokens = load("pearl_tiny_astronaut_square")
    assert relative_difference(method.rotation(torch.from_numpy(arrays["cross_covariance"])), arrays["rotation"]) < 1e-4
    maps = method.mix(tokens, torch.eye(197).expand(1, 4, 197, 197))[0]
    assert relative_difference(maps[:, torch.from_numpy(arrays["rows"])], arrays["attention_rows"]) < 1e-4
    assert relative_difference(method.stream(tokens)[0], arrays["attention_out"]) < 1e-4


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("cliper")])
def test_layers_attention_and_word_maps_of_cliper(case):
    arrays, method, tokens = load(case)
    for layer, expected in zip(arrays["early_layers"], arrays["features_early"], strict=True):
        got = create_method("cliper", layer=int(layer)).patch_embeddings(tokens)[0]
        assert (got - unit_rows(expected)).abs().max() < 2e-3
    last = list(method.maps(tokens))[-1][0]
    assert relative_difference(last.mean(0)[1:, 1:][::14], arrays["attention_mean_sub"]) < 1e-4
    if "attention_rows" in arrays:
        assert relative_difference(last[:, torch.from_numpy(arrays["rows"])], arrays["attention_rows"]) < 1e-4
    text, count = torch.from_numpy(arrays["text"]), int(arrays["foreground"])
    got = method.word_maps(tokens, text, count, float(arrays["scale"]), float(arrays["threshold"]))
    assert relative_difference(got[0], arrays["word_maps"]) < 1e-4


@pytest.mark.parametrize("case", ["rfclip_tiny_astronaut_square", "rfclip_tiny_astronaut_square_sigma-1.7"])
def test_rfclip_on_a_pass_of_its_own(case):
    arrays, method, tokens = load(case)
    method = dataclasses.replace(method, channels=tuple(arrays["channels"].tolist()))
    before = [state.clone() for state in (tokens.hidden(0), tokens.hidden(12))]
    assert (method.patch_embeddings(tokens)[0] - unit_rows(arrays["features"])).abs().max() < 1e-4
    cls = method.class_scores(tokens, torch.eye(48))[0]
    assert (cls - unit_rows(arrays["cls_embedding"])).abs().max() < 1e-4
    assert torch.equal(before[0], tokens.hidden(0))
    assert torch.equal(before[1], tokens.hidden(12))
    if "guide" in arrays:
        own = method.blurred(tokens)
        assert relative_difference(method.guide(own)[0], arrays["guide"]) < 1e-4
        first = merged(tokens, method.mix(tokens))
        assert relative_difference(first, arrays["attention_out_1"]) < 1e-4
        [(maps, values)] = method.attended(own, method.guide(own))
        rows = torch.from_numpy(arrays["rows"])
        assert relative_difference(maps[0][:, rows], arrays["attention_rows_2"]) < 1e-4
        assert relative_difference(merged(tokens, maps @ values), arrays["attention_out_2"]) < 1e-4


@pytest.mark.parametrize("case", ["rfclip_tiny_astronaut_square", "rfclip_tiny_astronaut_square_sigma-1.7"])
def test_rfclip_blurs_the_same_patches(case):
    arrays, method, tokens = load(case)
    blur = Blur(tuple(arrays["channels"].tolist()), method.sigma, method.alpha)
    own, changed = tokens.intervened(blur), []
    for number in range(1, 13):
        plain = own.block(number).forward(own.hidden(number - 1))
        changed.append((own.hidden(number) != plain)[0, 1:].any(-1))
    assert torch.equal(torch.stack(changed), torch.from_numpy(arrays["distracted"]))


def test_proxyclip_on_the_grid_of_the_companion():
    arrays, method, tokens = load("proxyclip_tiny_astronaut_square_28x28")
    companion = torch.from_numpy(arrays["companion"]).float()[None]
    got = method.patch_embeddings(tokens, companion)[0]
    assert got.shape == (784, 48)
    assert (got - unit_rows(arrays["features"])).abs().max() < 1e-4
    maps = method.attention(companion)[0, 0]
    assert relative_difference(maps[torch.from_numpy(arrays["rows"])], arrays["attention_rows"]) < 1e-4
    assert relative_difference(method.stream(tokens, companion)[0], arrays["attention_out"]) < 1e-4


def test_windows_of_glaclip_share_keys_and_values():
    arrays, method, _ = load("glaclip_tiny_chelsea_wide-full")
    offsets, backbone = torch.from_numpy(arrays["offsets"]), golden_backbone("tiny")
    pixels = golden_pixels(backbone, "chelsea_wide")[0]
    tokens = backbone.encode_tokens(torch.stack([pixels[:, y : y + 224, x : x + 224] for y, x in offsets.tolist()]))
    apart = (method.patch_embeddings(tokens, offsets) - unit_rows(arrays["features"])).abs().amax(-1).flatten()
    # A similarity on the threshold moves a single row, which is what the reference allows.
    assert (apart < 1e-4).float().mean() >= 0.99
    assert apart.max() < 1e-2
    maps = method.mix(JoinedTokens([tokens], offsets), torch.eye(1176).expand(1, 4, 1176, 1176))[0, 0]
    rows = maps[196:392][torch.from_numpy(arrays["rows"])]
    assert relative_difference(rows, arrays["attention_rows_window1"]) < 1e-4
