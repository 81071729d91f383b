"""Solutions of notebook 05. Each function states its exercise, returns the answer and asserts what must hold."""

import numpy as np
import torch

import ovss
from ovss import analysis
from ovss.ingredients import cluster, clustering_parameters, denoise, self_correlation
from ovss.lab.examples import load_example


def exercise_1() -> float:
    """Plant a global patch by adding 3 to one column of the logits: it is found, and rows become more alike."""
    tokens = load_example(ovss.load_backbone()).tokens
    q, k, _ = tokens.qkv(tokens.depth)
    logits = (q @ k.mT / q.shape[-1] ** 0.5)[0].mean(0)[1:, 1:]  # head mean, patches only

    def likeness(maps: torch.Tensor) -> float:
        return float(torch.cosine_similarity(maps, maps.mean(0, keepdim=True), dim=-1).mean())

    column = int(torch.softmax(logits, dim=-1).mean(0).argmin())
    planted = logits.clone()
    planted[:, column] += logits.max() - logits[:, column].min() + 3
    maps = torch.softmax(planted, dim=-1)
    assert analysis.global_patches(maps)[column]
    assert likeness(maps) > likeness(torch.softmax(logits, dim=-1))
    return likeness(maps)


def exercise_2() -> int:
    """Clusters of the shifted, unclamped rows are those of S itself, whatever the radius."""
    tokens = load_example(ovss.load_backbone()).tokens
    correlation = self_correlation(tokens.qkv(tokens.depth - 1))[0].double()
    rows, shifted = correlation[1:, 1:], correlation[1:, 1:] - correlation[0, 1:]
    eps, min_samples = clustering_parameters(tokens.grid)
    found = [cluster(values, eps, min_samples) for values in (rows, shifted)]
    assert np.array_equal(found[0], found[1])
    return int(found[0].max()) + 1


def exercise_3() -> dict[float, tuple[int, int]]:
    """Factor of eps -> (clusters, noise patches): a larger radius never makes more noise."""
    tokens = load_example(ovss.load_backbone()).tokens
    rows = denoise(self_correlation(tokens.qkv(tokens.depth - 1)))[0]
    eps, min_samples = clustering_parameters(tokens.grid)
    counts = {}
    for factor in (0.5, 1.0, 2.0):
        groups = cluster(rows, factor * eps, min_samples)
        counts[factor] = (int(groups.max()) + 1, int((groups == -1).sum()))
    noise = [count[1] for count in counts.values()]
    assert noise == sorted(noise, reverse=True)
    return counts
