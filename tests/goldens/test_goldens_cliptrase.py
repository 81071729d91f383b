"""CLIPtrase against outputs of its authors' code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import encode_crop, golden_arrays, relative_difference

from ovss.ingredients import (
    attention_map,
    cluster,
    cluster_maps,
    denoise,
    find_regions,
    name_by_vote,
    self_correlation,
    smooth_maps,
)
from ovss.methods import create_method

SETTINGS = ("plain", "voc20", "bg")
CASES = ("clusters224", "one224", "allnoise224", "clusters336")


@pytest.fixture(scope="module")
def reference():
    return golden_arrays("cliptrase/e2e_astronaut_224.npz")


@pytest.fixture(scope="module")
def tokens():
    return encode_crop("crop_astronaut_224")


def patch_scores(rows, cls, text, background, setting, grid):
    """Scores of a setting on the scale of the authors' code, and the class of each query."""
    queries = torch.cat([text, background]) if setting == "bg" else text
    scores = 100 * (queries @ rows.T).unflatten(1, grid)
    if setting == "voc20":
        scores = scores * (100 * text @ cls)[:, None, None]
    classes = [min(number, len(text)) for number in range(len(queries))]
    return scores, classes


def enlarge(scores, side):
    return F.interpolate(scores[None], size=(side, side), mode="bilinear", align_corners=False)


def class_map(scores, classes):
    return np.asarray(classes)[scores.argmax(0).numpy()]


def test_tokens_equal_the_authors(tokens, reference):
    expected = golden_arrays("cliptrase/attention_astronaut_224.npz")["raw_tokens"]
    method = create_method("cliptrase")
    assert relative_difference(tokens.read_out(method.stream(tokens))[0], expected) < 1e-4
    assert (method.patch_embeddings(tokens)[0] - torch.from_numpy(reference["features"][1:])).abs().max() < 1e-4
    cls = method.class_scores(tokens, torch.eye(32))[0]
    assert (cls - torch.from_numpy(reference["features"][0])).abs().max() < 1e-4


def test_attention_weights_and_self_correlation(tokens, reference):
    expected = golden_arrays("cliptrase/attention_astronaut_224.npz")
    weights = sum(attention_map(tokens.qkv(12), pair) for pair in ("qq", "kk", "vv"))
    assert relative_difference(weights[0], expected["block12_weights_per_head"]) < 1e-4
    assert relative_difference(self_correlation(tokens.qkv(11))[0], expected["self_corr_11"]) < 1e-5
    assert relative_difference(self_correlation(tokens.qkv(12))[0], expected["block12_cosine_unused"]) < 1e-5
    assert relative_difference(self_correlation(tokens.qkv(11))[0], reference["self_corr_11"]) < 1e-5
    for block, key in ((11, "origin_block11_qk_logits_mean"), (12, "origin_block12_qk_logits_mean")):
        q, k, _ = tokens.qkv(block)
        assert relative_difference((q @ k.mT / 4).mean(1)[0], expected[key]) < 1e-4
    plain = create_method("clip")
    assert relative_difference(tokens.read_out(plain.stream(tokens))[0], expected["origin_tokens"]) < 1e-4


def test_position_embedding_at_336(tokens):
    expected = golden_arrays("cliptrase/attention_astronaut_224.npz")["pos_embed_336"]
    assert relative_difference(tokens.backbone.position_embedding((21, 21), "scale"), expected) < 1e-5


def test_clusters_and_regions(tokens, reference):
    rows = create_method("cliptrase").correlation(tokens)[0]
    labels = cluster(rows, 0.7, 3)
    np.testing.assert_array_equal(labels, reference["dbscan_labels"])
    maps = cluster_maps(rows, labels, (14, 14))
    assert relative_difference(maps, reference["cluster_maps"]) < 1e-4
    assert relative_difference(smooth_maps(maps), reference["cluster_smooth"]) < 1e-4
    region = find_regions(rows, (14, 14), (224, 224), 0.7, 3)
    assert (region.numpy() == reference["region"]).mean() >= 0.999


@pytest.mark.parametrize("setting", SETTINGS)
def test_label_maps_before_and_after_the_vote(tokens, reference, setting):
    inputs = golden_arrays("cliptrase/inputs.npz")
    text, background = torch.from_numpy(inputs["text"]), torch.from_numpy(inputs["text_bg"])
    method = create_method("cliptrase")
    queries = torch.cat([text, background]) if setting == "bg" else text
    scores = method.patch_scores(tokens, queries)
    assert relative_difference(100 * scores[0], reference[f"{setting}_patch_logits"]) < 1e-4
    if setting == "voc20":
        cls = method.class_scores(tokens, text)
        assert relative_difference(100 * cls[0], reference["voc20_cls_logits"]) < 1e-4
        scores = scores * cls[..., None, None]
    classes = [min(number, len(text)) for number in range(len(queries))]
    scores = enlarge(scores[0], 224)
    assert (class_map(scores[0], classes) == reference[f"{setting}_before_vote"]).mean() >= 0.999
    refined = method.refine_scores(scores, tokens, classes)[0]
    assert (class_map(refined, classes) == reference[f"{setting}_final"]).mean() >= 0.999


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_clustering_and_naming_alone(case, setting):
    arrays = {
        key.removeprefix(f"{case}_"): value
        for key, value in golden_arrays("cliptrase/stage_synthetic.npz").items()
        if key.startswith(f"{case}_")
    }
    side, eps, min_samples = int(arrays["params"][0]), float(arrays["params"][1]), int(arrays["params"][2])
    grid = (side // 16, side // 16)
    rows = denoise(torch.from_numpy(arrays["self_corr"])[None])[0]
    np.testing.assert_array_equal(cluster(rows, eps, min_samples), arrays["dbscan_labels"])
    features = torch.from_numpy(arrays["features"])
    text, background = torch.from_numpy(arrays["text"]), torch.from_numpy(arrays["text_bg"])
    scores, classes = patch_scores(features[1:], features[0], text, background, setting, grid)
    scores = enlarge(scores, side)[0]
    region = find_regions(rows, grid, (side, side), eps, min_samples)
    if case == "allnoise224":
        assert region is None
    else:
        assert (region.numpy() == arrays["region"]).mean() >= 0.999
        scores = name_by_vote(scores, region, classes)
    assert (class_map(scores, classes) == arrays[f"{setting}_final"]).mean() >= 0.999
