"""CLIPSeg (AAAI 2025), our reading: its choices, and the calibration of the middle block."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from method_helpers import random_backbone
from PIL import Image

from ovss.ingredients import coherence_auc, coherent_pairs, cosine_map, patch_labels
from ovss.methods import create_method


class Labelled(NamedTuple):
    image: Image.Image
    labels: np.ndarray


@pytest.fixture(scope="module")
def backbone():
    return random_backbone(depth=6)


@pytest.fixture(scope="module")
def tokens(backbone):
    return backbone.encode_tokens(torch.randn(2, 3, 40, 48, generator=torch.Generator().manual_seed(0)))


def scene(seed):
    """Two halves of different colour and noise, one label each."""
    noise = np.random.default_rng(seed).integers(0, 60, size=(64, 64, 3))
    labels = np.zeros((64, 64), dtype=np.int64)
    labels[:, 32 + seed :] = 1
    colours = np.array([[150, 40, 20], [20, 60, 160]])[labels]
    return Labelled(Image.fromarray((colours + noise).astype(np.uint8)), labels)


@pytest.mark.parametrize("attention", [("coh",), ("res",), ("self",), ("coh", "res"), ("coh", "res", "self")])
def test_attention_rows_sum_to_one_and_far_patches_get_none(tokens, attention):
    method = create_method("clipseg_aaai25", attention=attention, threshold=0.9)
    weights = method.cra(tokens)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    if "self" not in attention:
        far = ~coherent_pairs(method.similarity(tokens), 0.9)
        assert far.any()
        assert (weights[far[:, None].expand_as(weights)] == 0).all()


def test_subsets_are_averaged(tokens):
    both, *single = (
        create_method("clipseg_aaai25", attention=names).cra(tokens) for names in (("coh", "res"), ("coh",), ("res",))
    )
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)


def test_values_come_from_the_last_blocks(tokens):
    method = create_method("clipseg_aaai25")
    weights = method.cra(tokens)
    outputs = [tokens.block(n).merge(weights @ tokens.qkv(n)[2][:, :, 1:]) for n in (4, 5, 6)]
    expected = torch.nn.functional.normalize(tokens.read_out(sum(outputs) / 3), dim=-1)
    torch.testing.assert_close(method.patch_embeddings(tokens), expected)
    one = create_method("clipseg_aaai25", value_blocks=1)
    last = create_method("clipseg_aaai25", value_blocks=1, values="last")
    torch.testing.assert_close(one.patch_embeddings(tokens), last.patch_embeddings(tokens))


def test_calibration_chooses_the_block_with_the_best_coherence(backbone):
    scenes = [scene(seed) for seed in range(3)]
    curves = []
    for sample in scenes:
        tokens = backbone.encode_tokens(backbone.preprocess(sample.image)[None])
        labels = patch_labels(sample.labels, tokens.grid, 22).ravel()
        maps = [cosine_map(tokens.hidden(block)[:, 1:])[0].numpy() for block in range(1, 7)]
        curves.append([coherence_auc(one, labels) for one in maps])
    best = int(np.mean(curves, axis=0).argmax()) + 1
    chosen = create_method("clipseg_aaai25", middle_blocks="auto").calibrate(backbone, scenes)
    assert chosen.middle_blocks == (best,)
    assert create_method("clipseg_aaai25").calibrate(backbone, []).middle_blocks is None


def test_calibration_leaves_void_pixels_out_whatever_their_label(backbone):
    void = scene(0)
    void.labels[::2] = 255
    method = create_method("clipseg_aaai25", middle_blocks="auto")
    assert method.calibrate(backbone, [void]) == method.calibrate(backbone, [scene(0)])
    small = Labelled(void.image, void.labels.astype(np.uint8))
    assert method.calibrate(backbone, [small]) == method.calibrate(backbone, [void])
    only = Labelled(void.image, np.full((64, 64), 255))
    with pytest.raises(ValueError, match="at least two classes"):
        method.calibrate(backbone, [only])


def test_calibration_needs_two_classes(backbone):
    plain = Labelled(Image.new("RGB", (64, 64)), np.zeros((64, 64), dtype=np.int64))
    with pytest.raises(ValueError, match="at least two classes"):
        create_method("clipseg_aaai25", middle_blocks="auto").calibrate(backbone, [plain])
