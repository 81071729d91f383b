"""Every method on every architecture of the study, with random weights."""

import copy

import pytest
import torch
from method_helpers import NEEDED, golden_backbone, golden_pixels, vision_tower, wrap

from ovss.methods import create_method, list_methods

ARCHITECTURES = ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14"]


def run_all(backbone, grid):
    generator = torch.Generator().manual_seed(0)
    height, width = (side * backbone.patch_size for side in grid)
    tokens = backbone.encode_tokens(torch.randn(2, 3, height, width, generator=generator))
    text = torch.eye(3, backbone.embed_dim)
    for name in list_methods():
        method = create_method(name, **NEEDED.get(name, {}))
        rows = method.patch_embeddings(tokens)
        assert rows.shape == (2, grid[0] * grid[1], backbone.embed_dim), name
        assert torch.isfinite(rows).all(), name
        scores = method.refine_scores(method.patch_scores(tokens, text), tokens)
        assert scores.shape == (2, 3, *grid), name
        assert torch.isfinite(scores).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_runs(architecture):
    backbone = vision_tower(architecture)
    run_all(backbone, (2, 3))
    if architecture == "ViT-B-16":
        backbone.model.to(torch.bfloat16)
        run_all(backbone, (3, 2))


def test_every_method_runs_on_tiny():
    from ovss.backbone import load_backbone
    from ovss.tiny import WEIGHTS

    if not WEIGHTS.is_file():
        pytest.skip(f"the embedded weights {WEIGHTS.name} are not there")
    run_all(load_backbone("tiny", device="cpu"), (8, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_method_runs_on_cuda(dtype):
    backbone = vision_tower("ViT-B-16")
    backbone.model.to("cuda", dtype)
    run_all(backbone, (14, 14))


@pytest.mark.slow
def test_single_precision_is_enough_at_full_size():
    single = golden_backbone("vitb16")
    double = wrap(copy.deepcopy(single.model).double())
    pixels = golden_pixels(single, "astronaut_square")
    first, second = single.encode_tokens(pixels), double.encode_tokens(pixels.double())
    for name in ("clip", "sclip", "naclip", "scclip", "cliptrase", "gem", "clip_surgery"):
        method = create_method(name, **NEEDED.get(name, {}))
        difference = (method.patch_embeddings(first) - method.patch_embeddings(second)).abs().max()
        assert difference < 1e-4, f"{name}: {difference:.1e}"
