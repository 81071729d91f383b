"""The last block of the simple methods, written out in float64 from their papers' formulas and the model's weights."""

import math

import numpy as np
import pytest
import torch
from method_helpers import random_backbone
from scipy.special import erf

from ovss.methods import create_method
from ovss.protocols import load_protocol
from ovss.segment.scorer import Scorer
from ovss.vocabulary import load_vocabulary

GRID = (6, 10)


def norm(x, layer):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + layer.eps) * array(layer.weight) + array(layer.bias)


def linear(x, layer):
    return x @ array(layer.weight).T + array(layer.bias)


def array(tensor):
    return tensor.detach().numpy().astype(np.float64)


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def gaussian(sigma):
    """NACLIP's neighbourhood, pair by pair; CLS has none."""
    places = [(row, column) for row in range(GRID[0]) for column in range(GRID[1])]
    table = np.zeros((1 + len(places), 1 + len(places)))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            table[1 + i, 1 + j] = math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * sigma**2))
    return table


MAPS = {
    "clip": (lambda q, k: softmax(q @ k), True),
    "maskclip": (lambda q, k: np.broadcast_to(np.eye(q.shape[-2]), (*q.shape[:-1], q.shape[-2])), False),
    "sclip": (lambda q, k: softmax(q @ q.swapaxes(-1, -2)) + softmax(k.swapaxes(-1, -2) @ k), True),
    "clearclip": (lambda q, k: softmax(q @ q.swapaxes(-1, -2)), False),
    "naclip": (lambda q, k: softmax(k.swapaxes(-1, -2) @ k + gaussian(5.0)), False),
}
"""Per method its map from scaled queries (heads, T, d) and keys (heads, d, T), and whether residual and FFN stay."""


def embeddings(backbone, states, name):
    """Patch embeddings (N, E) of one image from the states before the last block."""
    visual = backbone.model.visual
    block, heads = visual.transformer.resblocks[-1], backbone.heads
    qkv = norm(states, block.ln_1) @ array(block.attn.in_proj_weight).T + array(block.attn.in_proj_bias)
    q, k, v = (part.reshape(len(states), heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=-1))
    root = q.shape[-1] ** 0.25
    attention, whole = MAPS[name]
    mixed = attention(q / root, (k / root).swapaxes(-1, -2)) @ v
    out = linear(mixed.transpose(1, 0, 2).reshape(len(states), -1), block.attn.out_proj)
    if whole:
        out = out + states
        hidden = linear(norm(out, block.ln_2), block.mlp.c_fc)
        out = out + linear(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, block.mlp.c_proj)
    found = (norm(out, visual.ln_post) @ array(visual.proj))[1:]
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone(depth=3)
    return backbone.encode_tokens(torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("name", MAPS)
def test_patch_embeddings_are_the_papers_formula(tokens, name):
    found = create_method(name).patch_embeddings(tokens).numpy()
    for states, rows in zip(array(tokens.hidden(tokens.depth - 1)), found, strict=True):
        np.testing.assert_allclose(rows, embeddings(tokens.backbone, states, name), atol=3e-6)


def test_the_class_prior_multiplies_the_scores_of_windows_that_share_nothing():
    backbone, method = random_backbone(depth=3), create_method("maskclip")
    text = torch.nn.functional.normalize(torch.eye(3, 32) + 0.1, dim=-1)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    cells = []
    for prior in (False, True):
        protocol = load_protocol("study", templates=["a {}."], short_side=1.0, class_prior=prior)
        scorer = Scorer(backbone, {"maskclip": method}, load_vocabulary("cat; dog; grass"), protocol)
        scorer.text = text
        prepared = scorer.prepare(image)
        cells.append(scorer.score([prepared])[0]["maskclip"].cells)
    whole = torch.nn.functional.normalize(backbone.encode_image(prepared.pixels[None]), dim=-1) @ text.T  # (1, 3)
    torch.testing.assert_close(cells[1], cells[0] * whole[0, :, None, None], atol=1e-6, rtol=0)
    assert not torch.allclose(cells[0], cells[1], atol=1e-3)
