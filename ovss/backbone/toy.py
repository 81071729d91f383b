"""A small CLIP with random weights, on which any property of a method can be tried in milliseconds."""

from typing import Any

import open_clip
import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg

from ovss.backbone.backbone import Backbone

__all__ = ["random_backbone"]


def random_backbone(
    depth: int = 12,
    heads: int = 4,
    width: int = 64,
    patch: int = 8,
    size: int = 64,
    embed: int = 32,
    seed: int = 0,
    gain: float = 3.0,
) -> Backbone:
    """A small CLIP with random weights.

    Args:
        depth: Number of blocks.
        heads: Heads per block.
        width: Width D of the states.
        patch: Side of a patch in pixels.
        size: Native side of an image in pixels.
        embed: Width E of the joint space.
        seed: Of the weights.
        gain: Factor of the projections to queries, keys and values; larger ones make the attention sharper.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vision = CLIPVisionCfg(layers=depth, width=width, head_width=width // heads, patch_size=patch, image_size=size)
        model = CLIP(embed, vision, CLIPTextCfg(width=32, heads=1, layers=1, vocab_size=8))
        visual: Any = model.visual
        for block in visual.transformer.resblocks:
            block.attn.in_proj_weight.data.mul_(gain)
    return Backbone(
        model,
        name="random",
        pretrained="random",
        tokenizer=open_clip.get_tokenizer("ViT-B-16"),
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
    )
