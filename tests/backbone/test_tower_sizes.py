"""Towers of every patch and native size, square or not, are read as they read themselves, in each number format."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from small_towers import TEXT, small_model

import ovss
from ovss.backbone import Backbone, conformance
from ovss.backbone.tokenizers import StandInTokenizer

FAMILIES = ("class_token", "vit_map", "eva02", "pe_core")
SIZES = {14: [(224, 448), (384, 384), (560, 560)], 16: [(320, 240), (512, 512)], 32: [(448, 224)]}
"""Native height and width by patch; 384 is no multiple of 14, as in SigLIP. Half precision is tried on the first."""
BARS = {torch.float32: 2e-5, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Over 1600 patches the attention pool of PE-Core rounds to 1.1e-5 in float32; in float64 it is 3e-14."""


def tower(family, patch, size, dtype) -> Backbone:
    return Backbone(
        small_model(family, size, patch=patch, depth=2).to(dtype),
        name=f"{family}-{patch}-{size}",
        pretrained="random",
        tokenizer=StandInTokenizer(TEXT["vocab_size"], TEXT["context_length"]),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )


@pytest.mark.parametrize(("family", "patch", "dtype"), product(FAMILIES, SIZES, BARS))
def test_every_size_agrees_with_the_model_itself_and_labels_an_image(family, patch, dtype):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    whole = {"short_side": 1, "window": None, "stride": None}
    protocol = ovss.load_protocol("study", templates=["a {}."], **whole)
    for size in SIZES[patch][: None if dtype == torch.float32 else 1]:
        backbone = tower(family, patch, size, dtype)
        assert (backbone.patch_size, backbone.native_size) == (patch, size)
        assert backbone.native_grid == (size[0] // patch, size[1] // patch)
        image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        assert max(conformance(backbone, image).values()) <= BARS[dtype], size
        segmentation = ovss.Segmenter(backbone, "naclip", "grass; sky", protocol=protocol)(photo)
        assert segmentation.labels.shape == (60, 80)
        assert np.isfinite(segmentation.scores).all()
