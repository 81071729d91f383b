"""Backbones and reference arrays for the tests of methods."""

import importlib.util
from functools import lru_cache
from types import ModuleType

import numpy as np
import open_clip
import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg
from paths import shared_path

from ovss.backbone import Backbone, Tokens
from ovss.backbone.toy import random_backbone

__all__ = ["random_backbone"]

NEEDED = {"rfclip": {"channels": (1, 5, 14)}, "registers": {"neurons": ((1, 3), (2, 0), (2, 7))}}
"""Parameters without which a method does not run on weights that are not OpenAI's."""
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


@lru_cache
def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of a reference file."""
    with np.load(shared_path("goldens", *name.split("/"))) as file:
        return {key: file[key] for key in file.files}


def _recipe(*parts: str) -> ModuleType:
    path = shared_path("goldens", *parts, "make_weights.py")
    spec = importlib.util.spec_from_file_location("_".join(["make_weights", *parts]), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache
def golden_backbone(kind: str) -> Backbone:
    """The random model behind a group of reference files: "tiny", "vitb16" or "cliptrase"."""
    if kind == "cliptrase":
        recipe = _recipe("cliptrase")
        state, width = recipe.make_state_dict(**recipe.CONFIGS["tiny"]), 32
        assert recipe.state_dict_sha256(state) == recipe.EXPECTED["tiny"]
    else:
        recipe = _recipe()
        state, width = recipe.make_state_dict(kind), 48
        assert recipe.digest(state) == recipe.EXPECTED[kind]
    if kind == "vitb16":
        model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None)
    else:
        vision = CLIPVisionCfg(layers=12, width=64, head_width=16, patch_size=16, image_size=224)
        text = CLIPTextCfg(width=64, heads=1, layers=2)
        model = CLIP(width, vision, text, quick_gelu=True)
    model.load_state_dict(state, strict=True)
    return wrap(model, kind)


def wrap(model: torch.nn.Module, name: str = "random") -> Backbone:
    """A backbone around an open_clip model."""
    return Backbone(
        model, name=name, pretrained="random", tokenizer=open_clip.get_tokenizer("ViT-B-16"), mean=MEAN, std=STD
    )


def vision_tower(architecture):
    """An architecture's own vision tower beside the smallest text tower."""
    config = open_clip.get_model_config(architecture)
    assert config is not None
    vision = CLIPVisionCfg(**config["vision_cfg"])
    text = CLIPTextCfg(width=32, heads=1, layers=1, vocab_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wrap(CLIP(config["embed_dim"], vision, text), architecture)


def golden_pixels(backbone: Backbone, name: str) -> torch.Tensor:
    """A reference image as a batch of one, normalised as the README of the reference files says."""
    rgb = torch.from_numpy(golden_arrays("images.npz")[name]).float()
    mean, std = torch.tensor([122.771, 116.746, 104.094]), torch.tensor([68.501, 66.632, 70.323])
    return ((rgb - mean) / std).permute(2, 0, 1)[None]


def relative_difference(got: torch.Tensor | np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference over the largest absolute expected value."""
    return float(np.abs(np.asarray(got) - expected).max() / np.abs(expected).max())


def encode_crop(crop: str) -> Tokens:
    """One of CLIPtrase's reference crops through its model."""
    pixels = torch.from_numpy(golden_arrays("cliptrase/inputs.npz")[crop]).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return golden_backbone("cliptrase").encode_tokens((pixels - mean) / std)
