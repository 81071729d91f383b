"""Patch scores and label maps of whole images against the authors' code; each image here is a single window."""

import pytest
import torch
import torch.nn.functional as F
from method_helpers import golden_arrays, golden_backbone, golden_pixels, relative_difference

from ovss.methods import create_method

NACLIP = {
    "reduced_naclip": ("naclip", {}),
    "reduced_nonly": ("naclip", {"similarity": "none"}),
    "reduced_kk": ("naclip", {"omega": False}),
    "reduced_vanilla": ("clip", {"residual": False, "ffn": False}),
    "vanilla_naclip": ("naclip", {"arch": "vanilla"}),
    "vanilla_nonly": ("naclip", {"arch": "vanilla", "similarity": "none"}),
    "vanilla_kk": ("naclip", {"arch": "vanilla", "omega": False}),
    "vanilla_csa": ("sclip", {}),
    "vanilla_vanilla": ("clip", {}),
}
SCCLIP = {
    "default": {},
    "rescls0": {"w_cls": 0.0},
    "layers_5_2_2_6": {"mid_block": 6, "post_block": 3, "fused_blocks": (3, 4, 5, 6)},
    "beta0.7": {"beta": 0.7},
    "beta-2": {"beta": -2.0},
    "no_anomaly_fix": {"repair": False},
    "no_aggregation": {"aggregate": False},
    "no_multi_level": {"two_pass": False},
}


def pixel_scores(method, picture, arrays):
    """Cosines (Q, H, W) of an image in one window; a border narrower than a patch is not seen and stretched over."""
    backbone = golden_backbone("tiny")
    pixels = golden_pixels(backbone, picture)
    height, width = pixels.shape[-2:]
    tokens = backbone.encode_tokens(pixels[..., : height // 16 * 16, : width // 16 * 16])
    scores = method.patch_scores(tokens, torch.from_numpy(arrays["text"]))
    return F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)[0]


def agreement(scores, arrays, labels):
    """Share of pixels whose class is the expected one."""
    owner = torch.from_numpy(arrays["query_idx"])
    return (owner[scores.argmax(0)].numpy() == labels).mean()


@pytest.mark.parametrize("variant", NACLIP)
def test_naclip_scores_and_labels(variant):
    arrays, (name, parameters) = golden_arrays("naclip/tiny_astronaut_square.npz"), NACLIP[variant]
    scores = pixel_scores(create_method(name, **parameters), "astronaut_square", arrays)
    assert relative_difference(scores[:, ::8, ::8], arrays[f"{variant}_slide_logits_sub8"]) < 1e-4
    assert agreement(scores, arrays, arrays[f"{variant}_labels"]) >= 0.999


@pytest.mark.parametrize("variant", SCCLIP)
def test_scclip_scores_and_labels(variant):
    arrays = golden_arrays("scclip/tiny_astronaut_square.npz")
    scores = pixel_scores(create_method("scclip", **SCCLIP[variant]), "astronaut_square", arrays)
    assert relative_difference(scores[:, ::8, ::8], arrays[f"{variant}_slide_logits_sub8"]) < 1e-4
    assert agreement(scores, arrays, arrays[f"{variant}_labels"]) >= 0.999


@pytest.mark.parametrize(
    "case", ["chelsea_wide_whole", "coffee_tall_whole", "chelsea_small_whole", "chelsea_small_slide"]
)
def test_scclip_labels_of_images_that_are_not_square(case):
    arrays = golden_arrays("scclip/tiny_nonsquare_fixed.npz")
    scores = pixel_scores(create_method("scclip"), case.rsplit("_", 1)[0], arrays)
    assert agreement(scores, arrays, arrays[f"{case}_labels"]) >= 0.999
