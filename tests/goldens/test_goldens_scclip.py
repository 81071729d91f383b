"""SC-CLIP against outputs of its authors' code."""

import numpy as np
import pytest
import torch
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.ingredients import (
    aggregation_weights,
    cosine_map,
    find_anomalies,
    kdist_scores,
    repair,
    similarity_attention,
)
from ovss.methods import create_method

VARIANTS = {
    "default": {},
    "rescls0": {"w_cls": 0.0},
    "layers_5_2_2_6": {"mid_block": 6, "post_block": 3, "fused_blocks": (3, 4, 5, 6)},
    "beta0.7": {"beta": 0.7},
    "beta-2": {"beta": -2.0},
    "no_anomaly_fix": {"repair": False},
    "no_aggregation": {"aggregate": False},
    "no_multi_level": {"two_pass": False},
}


def unit_rows(expected):
    return torch.nn.functional.normalize(torch.from_numpy(expected), dim=-1)


@pytest.fixture(scope="module")
def tokens():
    backbone = golden_backbone("tiny")
    return backbone.encode_tokens(golden_pixels(backbone, "astronaut_square"))


@pytest.fixture(scope="module")
def steps():
    return golden_arrays("scclip/tiny_steps.npz")


@pytest.mark.parametrize("variant", VARIANTS)
def test_patch_embeddings_equal_the_authors(tokens, variant):
    expected = golden_arrays("scclip/tiny_astronaut_square.npz")[f"{variant}_crop_features"]
    got = create_method("scclip", **VARIANTS[variant]).patch_embeddings(tokens)[0]
    assert (got - unit_rows(expected)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("picture", "tolerance"), [("chelsea_wide", 1e-4), ("chelsea_small", 1e-4), ("coffee_tall", 5e-3)]
)
def test_grids_that_are_not_square(picture, tolerance):
    backbone, expected = golden_backbone("tiny"), golden_arrays("scclip/tiny_nonsquare_fixed.npz")
    pixels = golden_pixels(backbone, picture)
    height, width = (side // 16 * 16 for side in pixels.shape[-2:])
    tokens = backbone.encode_tokens(pixels[..., :height, :width])
    found = find_anomalies(tokens.hidden(11)[:, 1:])[0].nonzero().flatten()
    assert found.tolist() == sorted(expected[f"{picture}_outliers"])
    positions = torch.stack(torch.unravel_index(found, tokens.grid), dim=-1)
    np.testing.assert_array_equal(positions, expected[f"{picture}_positions"])
    got = create_method("scclip").patch_embeddings(tokens)[0]
    assert (got - unit_rows(expected[f"{picture}_whole_features"])).abs().max() < tolerance


def test_every_intermediate_step(tokens, steps):
    x = tokens.hidden(11)[:, 1:]
    assert relative_difference(x[0], steps["lof_input"]) < 1e-5
    assert relative_difference(kdist_scores(x)[0], steps["lof_scores"]) < 1e-4
    anomalous = find_anomalies(x)
    assert anomalous[0].nonzero().flatten().tolist() == sorted(steps["outliers"])
    repaired = repair(x, anomalous, tokens.grid)
    assert relative_difference(repaired[0].T.unflatten(1, (14, 14))[None], steps["mean1_out"]) < 1e-5
    middle = repair(tokens.hidden(9)[:, 1:], anomalous, tokens.grid)
    assert relative_difference(middle[0].T.unflatten(1, (14, 14))[None], steps["mean2_out"]) < 1e-5
    similarity = cosine_map(middle)
    rows = torch.from_numpy(steps["rows"])
    assert relative_difference(similarity[:, rows], steps["mid_simi"]) < 1e-5
    assert abs(float(similarity.mean()) - float(steps["mid_simi_mean"])) < 1e-6
    weights = aggregation_weights(similarity, 0.4)
    kept = steps["agg1_weights"]
    assert relative_difference(weights[:, rows], kept / (kept.sum(-1, keepdims=True) + 1e-6)) < 1e-5
    aggregated = weights @ repaired
    assert relative_difference(aggregated[0][:, None], steps["agg1_out"]) < 1e-5
    method, block = create_method("scclip"), tokens.block(12)
    enhancement = similarity_attention(similarity)
    first = block.merge(method.weigh(block.kv(aggregated), enhancement))
    assert relative_difference(first[0][:, None], steps["attn1_out"]) < 1e-4
    fused = sum(tokens.hidden(block) for block in range(4, 11))
    second = block.merge(method.weigh(block.kv(fused[:, 1:]), enhancement))
    assert relative_difference(second[0][:, None], steps["attn2_out"]) < 1e-4
    post = aggregation_weights(cosine_map(tokens.hidden(4)[:, 1:]), 0.4)
    kept = steps["agg2_weights"]
    assert relative_difference(post[:, rows], kept / (kept.sum(-1, keepdims=True) + 1e-6)) < 1e-5
    local = first + 0.3 * tokens.hidden(11)[:, :1]
    assert relative_difference(local[0][:, None], steps["agg2_in"]) < 1e-4
    deep = second + 0.3 * fused[:, :1]
    assert relative_difference(deep[0][:, None], steps["agg3_in"]) < 1e-4
    assert relative_difference((post @ deep)[0][:, None], steps["agg3_out"]) < 1e-4
    # The authors add the second pass in place, so the record of the first one holds the sum.
    assert relative_difference((post @ (local + deep))[0][:, None], steps["agg2_out"]) < 1e-4
    read = tokens.read_out(post @ (local + deep))
    assert relative_difference(read, steps["features"]) < 1e-4


@pytest.mark.parametrize(("neighbours", "contamination"), [(30, 0.05), (5, 0.1), (10, 0.2)])
def test_outlier_scores_alone(neighbours, contamination):
    arrays = golden_arrays("scclip/unit_lof_mean_aggregate.npz")
    points, key = torch.from_numpy(arrays["lof_points"])[None], f"lof_n{neighbours}_c{contamination}"
    assert relative_difference(kdist_scores(points, neighbours)[0], arrays[f"{key}_scores"]) < 1e-5
    found = find_anomalies(points, "kdist", neighbours, contamination)[0].nonzero().flatten()
    assert found.tolist() == sorted(arrays[f"{key}_outliers"])


def test_repair_and_aggregation_alone():
    arrays = golden_arrays("scclip/unit_lof_mean_aggregate.npz")
    planes = torch.from_numpy(arrays["mean_map"])  # (5, 6, 7)
    anomalous = torch.zeros(6, 7, dtype=torch.bool)
    anomalous[tuple(torch.from_numpy(arrays["mean_positions"]).T)] = True
    got = repair(planes.flatten(1).T[None], anomalous.flatten()[None], (6, 7))
    assert relative_difference(got[0].T.unflatten(1, (6, 7)), arrays["mean_out"]) < 1e-6
    weights = torch.from_numpy(arrays["agg_weights"])[None]
    got = aggregation_weights(weights, -2.0) @ torch.from_numpy(arrays["agg_in"])
    assert relative_difference(got[0], arrays["agg_out"]) < 1e-5
