"""Ingredients against slow oracles and cases known by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from ovss.ingredients import (
    aggregation_weights,
    attend,
    attention_map,
    clustering_parameters,
    coherence_auc,
    coherent_attention,
    coherent_pairs,
    cosine_map,
    denoise,
    find_anomalies,
    find_regions,
    gaussian_window,
    kdist_scores,
    lof_scores,
    logit_bound,
    patch_labels,
    repair,
    restrict_attention,
    self_correlation,
    similarity_attention,
    smooth_maps,
    spread,
    squared_distances,
)

CPU = torch.device("cpu")


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pair", ["qq", "kk", "vv", "qk"])
def test_fused_attention_equals_the_map_times_the_values(pair):
    qkv = tuple(seeded(3, 2, 4, 7, 5))
    torch.testing.assert_close(attend(qkv, pair), attention_map(qkv, pair) @ qkv[2])
    bias = seeded(7, 7, seed=1)
    parts = dict(zip("qkv", qkv, strict=True))
    logits = parts[pair[0]] @ parts[pair[1]].mT / 5**0.5 + bias
    torch.testing.assert_close(attend(qkv, pair, bias=bias), torch.softmax(logits, -1) @ qkv[2])


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), sigma=st.floats(0.3, 20))
def test_gaussian_window_entry_by_entry(rows, columns, sigma):
    table = gaussian_window((rows, columns), sigma, CPU)
    places = [(i, j) for i in range(rows) for j in range(columns)]
    expected = [[np.exp(-((i - m) ** 2 + (j - n) ** 2) / (2 * sigma**2)) for m, n in places] for i, j in places]
    np.testing.assert_allclose(table[1:, 1:], expected, atol=1e-6)
    assert not table[0].any()
    assert not table[:, 0].any()


def test_gaussian_window_of_a_large_grid_is_the_product_of_two_lines():
    table = gaussian_window((35, 70), 5.0, CPU)
    assert table.shape == (2451, 2451)
    rows, columns = (gaussian_window(shape, 5.0, CPU)[1:, 1:] for shape in ((35, 1), (1, 70)))
    np.testing.assert_allclose(table[1:, 1:], torch.kron(rows, columns), atol=1e-6)


@pytest.mark.parametrize(("sigma", "between"), [(1e300, 1.0), (1e-300, 0.0)])
def test_gaussian_window_of_extreme_widths_is_uniform_or_the_identity(sigma, between):
    table = gaussian_window((2, 3), sigma, CPU, prefix=0)
    expected = torch.full((6, 6), between).fill_diagonal_(1)
    assert torch.equal(table, expected)


def test_logit_bound_is_the_mean_of_all_products():
    qkv = tuple(seeded(3, 2, 4, 6, 5))
    products = qkv[0].norm(dim=-1)[..., :, None] * qkv[1].norm(dim=-1)[..., None, :] / 5**0.5
    torch.testing.assert_close(logit_bound(qkv), products.mean((1, 2, 3)))


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(tokens=st.integers(2, 40), neighbours=st.integers(1, 35), seed=st.integers(0, 99))
def test_textbook_lof_equals_scikit_learn(tokens, neighbours, seed):
    x = seeded(2, tokens, 6, seed=seed)
    k = min(neighbours, tokens - 1)
    expected = [-LocalOutlierFactor(n_neighbors=k).fit(one.double().numpy()).negative_outlier_factor_ for one in x]
    np.testing.assert_allclose(lof_scores(x, neighbours), np.stack(expected), rtol=1e-4)


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(tokens=st.integers(2, 40), neighbours=st.integers(1, 35), seed=st.integers(0, 99))
def test_kdist_scores_entry_by_entry(tokens, neighbours, seed):
    x = seeded(1, tokens, 6, seed=seed)
    distances = cdist(x[0], x[0], "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, : min(neighbours, tokens - 1)]
    delta = np.take_along_axis(distances, nearest, axis=1)[:, -1]
    expected = [np.mean([delta[i] / delta[j] for j in nearest[i]]) for i in range(tokens)]
    np.testing.assert_allclose(kdist_scores(x, neighbours)[0], expected, rtol=1e-3)


def test_distances_survive_a_large_common_offset():
    x = seeded(1, 9, 4)
    torch.testing.assert_close(squared_distances(x + 1000), squared_distances(x), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("detector", "count"), [("kdist", 10), ("lof", 10), ("norm", 10)])
def test_the_share_of_anomalies_does_not_depend_on_the_image(detector, count):
    found = find_anomalies(seeded(3, 196, 8), detector)
    assert found.sum(1).tolist() == [count] * 3


@pytest.mark.parametrize("detector", ["kdist", "lof", "norm"])
def test_a_planted_outlier_is_found(detector):
    x = seeded(1, 100, 8)
    x[0, 37] = 40
    assert find_anomalies(x, detector)[0, 37]


def test_identical_tokens_are_not_anomalous():
    assert not find_anomalies(torch.ones(1, 20, 4), "kdist").any()


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), share=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_repair_patch_by_patch(rows, columns, share, seed):
    x = seeded(1, rows * columns, 3, seed=seed)
    bad = torch.rand(1, rows * columns, generator=torch.Generator().manual_seed(seed)) < share
    expected = x.clone()
    for place in bad[0].nonzero().flatten().tolist():
        i, j = divmod(place, columns)
        around = [
            m * columns + n
            for m in range(max(i - 1, 0), min(i + 2, rows))
            for n in range(max(j - 1, 0), min(j + 2, columns))
        ]
        sound = [number for number in around if not bad[0, number]]
        if sound:
            expected[0, place] = x[0, sound].mean(0)
    torch.testing.assert_close(repair(x, bad, (rows, columns)), expected, atol=1e-5, rtol=0)


def test_aggregation_keeps_similarities_from_beta_on():
    weights = aggregation_weights(torch.tensor([[[1.0, 0.4, 0.39], [0.4, 1.0, -0.2], [0.39, -0.2, 1.0]]]), 0.4)
    expected = torch.tensor([[[1 / 1.4, 0.4 / 1.4, 0], [0.4 / 1.4, 1 / 1.4, 0], [0, 0, 1]]])
    torch.testing.assert_close(weights, expected, atol=2e-6, rtol=0)


def test_similarity_attention_looks_above_the_mean_of_its_own_image():
    similarity = cosine_map(seeded(2, 6, 4))
    attention = similarity_attention(similarity)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 6))
    below = similarity < similarity.mean((1, 2), keepdim=True)
    assert (attention[below] == 0).all()
    assert (attention[~below] > 0).all()
    uniform = similarity_attention(torch.full((1, 4, 4), 0.99999994))
    assert torch.isfinite(uniform).all()


def test_self_correlation_is_a_mean_of_cosines():
    qkv = tuple(seeded(3, 2, 4, 6, 5))
    units = [torch.nn.functional.normalize(part, dim=-1) for part in qkv]
    expected = sum(part @ part.mT for part in units).mean(1) / 3
    torch.testing.assert_close(self_correlation(qkv), expected)


def test_subtracting_cls_moves_no_distance_but_the_clamp_does():
    correlation = self_correlation(tuple(seeded(3, 1, 2, 10, 4)))
    patches, cls = correlation[0, 1:, 1:], correlation[0, :1, 1:]
    torch.testing.assert_close(torch.cdist(patches - cls, patches - cls), torch.cdist(patches, patches))
    clamped = denoise(correlation)[0]
    assert (torch.cdist(clamped, clamped) - torch.cdist(patches, patches)).abs().max() > 0.01


def test_dice_takes_more_from_patches_that_resemble_cls():
    correlation = torch.full((1, 3, 3), 0.5)
    correlation[0, 0] = torch.tensor([1.0, 0.9, 0.1])
    correlation[0, 1] = torch.tensor([0.0, 0.9, 0.1])
    correlation[0, 2] = torch.tensor([0.0, 0.1, 0.9])
    rows = denoise(correlation, "dice")[0]
    torch.testing.assert_close(rows[0], torch.zeros(2))
    dice = 2 * (0.9 * 0.1 + 0.1 * 0.9) / (2 * (0.81 + 0.01))
    torch.testing.assert_close(rows[1], torch.tensor([max(0.1 - dice * 0.9, 0), 0.9 - dice * 0.1]))


def test_published_clustering_pairs_and_the_rule_between():
    assert clustering_parameters((14, 14)) == (0.7, 3)
    assert clustering_parameters((21, 21)) == (1.1, 7)
    assert clustering_parameters((28, 28)) == (pytest.approx(1.4), 12)
    assert clustering_parameters((15, 22)) == (pytest.approx(0.05 * 330**0.5), 5)


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (14, 14)])
def test_maps_are_smoothed_by_a_median(grid):
    maps = seeded(2, *grid)
    enlarged = torch.nn.functional.interpolate(maps[None], scale_factor=4, mode="bilinear")[0]
    np.testing.assert_array_equal(smooth_maps(maps), median_filter(enlarged.numpy(), size=(1, 7, 7)))


def test_no_cluster_means_no_region():
    assert find_regions(torch.eye(9) * 100, (3, 3), (24, 24), eps=0.1, min_samples=3) is None


def test_coherent_pairs_always_keep_the_diagonal():
    similarity = torch.tensor([[[0.99, 0.3, 0.2], [0.3, 0.1, -0.9], [0.2, -0.9, 1.0]]])
    kept = coherent_pairs(similarity, 0.75)
    assert kept[0].tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    attention = coherent_attention(similarity, kept, 6.0)
    expected = torch.softmax(torch.tensor([6 * 0.99, 6 * 0.3]), 0)
    torch.testing.assert_close(attention[0, 0], torch.tensor([expected[0], expected[1], 0]))
    restricted = restrict_attention(torch.full((1, 2, 3, 3), 0.1), kept)
    torch.testing.assert_close(restricted[0, 0], kept[0] / kept[0].sum(-1, keepdim=True))


def test_coherence_auc_of_separated_classes_is_one():
    labels = np.array([0, 0, 1, 1, -1])
    apart = (labels[:, None] == labels[None]).astype(float)
    assert coherence_auc(apart, labels) == 1
    assert coherence_auc(-apart, labels) == 0
    assert np.isnan(coherence_auc(apart, np.zeros(5, dtype=int)))
    noise = np.random.default_rng(0).normal(size=(5, 5))
    first, second = np.triu_indices(4, 1)
    assert coherence_auc(noise, labels) == roc_auc_score(apart[first, second], noise[first, second])


def test_a_patch_has_the_class_of_most_of_its_labelled_pixels():
    labels = np.array([[0, 0, 2, 2], [0, 1, 2, 255], [1, 1, 255, 255], [1, 0, 255, 3], [255] * 4, [255] * 4])
    assert patch_labels(labels, (3, 2), 4).tolist() == [[0, 2], [1, 3], [-1, -1]]


@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3, 7.7])
def test_two_patches_farthest_from_each_other_tie_whatever_the_rounding(scale):
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(1, 8, 16, generator=generator) / 10
    points[0, 0, 0], points[0, 5, 0] = 3, -3
    assert not find_anomalies(points * scale, "kdist", neighbours=30).any()


def test_the_quantile_of_anomalies_has_no_tolerance_on_grids_larger_than_the_neighbourhood(monkeypatch):
    scores = torch.linspace(0.5, 1.0, 40)
    scores[38:] = torch.tensor([1 + 5e-6, 2.0])
    monkeypatch.setattr("ovss.ingredients.anomalies.kdist_scores", lambda x, neighbours: scores[None])
    scores[37] = 1.0
    expected = scores.numpy() > np.quantile(scores.numpy(), 0.95)
    assert expected.sum() == 2
    tokens = torch.zeros(1, 40, 3)
    np.testing.assert_array_equal(find_anomalies(tokens, neighbours=30)[0], expected)
    assert find_anomalies(tokens, neighbours=39).sum() == 1, "ties count as equal where all patches are neighbours"


def test_one_attention_is_spread_over_all_heads():
    generator = torch.Generator().manual_seed(0)
    weights, values = torch.rand(2, 5, 7, generator=generator), torch.randn(2, 3, 7, 4, generator=generator)
    torch.testing.assert_close(spread(weights, values), torch.einsum("bij,bhjd->bhid", weights, values))
