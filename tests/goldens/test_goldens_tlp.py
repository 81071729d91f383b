"""Text-aware label propagation against outputs of PEARL's code."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.segment import tlp
from ovss.segment.propagation import Propagation, edge_weights, text_gate

CASES = ["tlp_chelsea_small", "tlp_coffee_tall_use_text-False_C-4"]


def load(case):
    """Arrays, image and full-size scores; the scores are stored small and enlarged bilinearly."""
    arrays = golden_arrays(f"frontier/{case}.npz")
    picture, _, part = json.loads(str(arrays["case"]))["picture"].partition("@")
    assert part == "all"
    image = golden_pixels(golden_backbone("tiny"), picture)[0]
    low = torch.from_numpy(arrays["scores_low"]).float()[None]
    scores = F.interpolate(low, size=tuple(arrays["size"].tolist()), mode="bilinear", align_corners=False)[0]
    return arrays, image, scores, torch.from_numpy(arrays["text"]) if "text" in arrays else None


@pytest.mark.parametrize("case", CASES)
def test_propagated_scores_equal_the_authors(case):
    arrays, image, scores, text = load(case)
    got = tlp(image, scores, text, grid=80, iterations=25)
    assert got.shape == scores.shape
    assert relative_difference(got[:, ::4, ::4], arrays["output_sub4"]) < 1e-4
    assert relative_difference(scores[:, ::4, ::4], arrays["output_sub4"]) > 1e-2


@pytest.mark.parametrize("case", CASES)
def test_cells_edges_and_confidence_equal_the_authors(case):
    arrays, image, scores, text = load(case)
    graph = Propagation.of(image, text, 80, 25)
    assert graph.pool == tuple(arrays["pool"].tolist())
    confidence, (down, right) = edge_weights(F.avg_pool2d(scores[None], graph.pool)[0], graph)
    pairs = [(confidence, "confidence_sub4"), (down, "weights_down_sub4"), (right, "weights_right_sub4")]
    for got, key in pairs:
        assert relative_difference(got[::4, ::4], arrays[key]) < 1e-4, key


def test_the_gate_of_each_word_equals_the_authors():
    arrays, _, _, text = load("tlp_chelsea_small")
    np.testing.assert_allclose(text_gate(text), arrays["text_gate"], atol=1e-6)
