"""GEM and CLIP Surgery against outputs of their authors' code."""

import pytest
import torch
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.methods import create_method


@pytest.fixture(scope="module")
def tokens():
    backbone = golden_backbone("tiny")
    return backbone.encode_tokens(golden_pixels(backbone, "astronaut_square"))


def test_gem_equals_the_authors(tokens):
    expected = golden_arrays("baselines.npz")["gem"]
    assert relative_difference(tokens.read_out(create_method("gem").stream(tokens))[0], expected) < 1e-4


def test_clip_surgery_takes_patches_from_the_new_path_and_cls_from_the_old_one(tokens):
    expected = golden_arrays("baselines.npz")["clip_surgery"]
    method = create_method("clip_surgery")
    assert relative_difference(tokens.read_out(method.stream(tokens))[0, 1:], expected[1:]) < 1e-4
    cls = torch.nn.functional.normalize(torch.from_numpy(expected[0]), dim=0)
    assert (method.class_scores(tokens, torch.eye(48))[0] - cls).abs().max() < 1e-5
