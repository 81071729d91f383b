"""Does what is read here agree with what the model itself computes?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovss.backbone.backbone import Backbone
from ovss.backbone.image_only import build_image_tower
from ovss.backbone.loading import load_backbone
from ovss.backbone.names import RANDOM, register_tiny, resolve_name

__all__ = ["conformance", "shake", "tower_to_check"]


@torch.inference_mode()
def conformance(backbone: Backbone, images: Tensor | None = None) -> dict[str, float]:
    """Compare a backbone with open_clip's own `encode_image`, on images of the native size.

    Args:
        backbone: The model.
        images: Normalised images (B, 3, H, W) of the native size; None: two of noise.

    Returns:
        Largest difference, as a share of the largest value of the reference (1e-5 is the bar in float32), infinite
        where values are not finite. "pooled": `Tokens.image_embedding`, and the same walked block by block from q, k,
        v, `merge` and `ffn`, against `encode_image`. "one_hot": `Tokens.dense` of one patch per image against
        `encode_image` of a model whose last state holds that patch everywhere, so that its pool, whatever its weights,
        looks at nothing else.
    """
    if images is None:
        images = torch.randn(2, 3, *backbone.native_size, generator=torch.Generator().manual_seed(0))
    tokens = backbone.encode_tokens(images)
    expected = backbone.encode_image(images)
    pooled = max(_error(found, expected) for found in (tokens.image_embedding(), _walk(backbone, images)))

    last, rows = tokens.hidden(backbone.depth), torch.arange(len(images), device=backbone.device)
    patches = last.shape[1] - backbone.prefix
    chosen = backbone.prefix + (1 + 2 * rows) * patches // (2 * len(images))
    module = backbone.block(backbone.depth).module
    handle = module.register_forward_hook(lambda *_: last[rows, chosen][:, None].expand_as(last))
    try:
        alone = backbone.encode_image(images)
    finally:
        handle.remove()
    dense = backbone.as_answered(tokens.dense()[rows, chosen - backbone.prefix])
    return {"pooled": pooled, "one_hot": _error(dense, alone)}


def _walk(backbone: Backbone, images: Tensor) -> Tensor:
    """Image embedding from the parts of every block."""
    tokens = backbone.encode_tokens(images, layers=[0])
    x = tokens.hidden(0)
    for layer in range(1, backbone.depth + 1):
        block = tokens.block(layer)
        y = x + block.merge(F.scaled_dot_product_attention(*block.qkv(x)))
        x = y + block.ffn(y)
    return backbone.pooled(x)


def _error(found: Tensor, expected: Tensor) -> float:
    error = float((found - expected).abs().max() / expected.abs().max())
    return error if math.isfinite(error) else math.inf  # NaN would lose against any number in a maximum


def tower_to_check(model: str) -> Backbone:
    """A model for `conformance`, in float32 on the CPU, from little: its text tower is there for form only.

    Args:
        model: As in `ovss.load_backbone`. A repository of the hub that open_clip does not list, or a copy of one, is
            read with its own weights; all others have random ones, shaken.

    Raises:
        InputError: No such model, or its image tower is not a plain vision transformer.
    """
    name, _ = resolve_name(model)
    if name.startswith(("hf-hub:", "local-dir:")):
        return load_backbone(name, device="cpu", dtype="float32")
    built = build_image_tower(register_tiny() if name == "tiny" else name)
    shake(built)
    return Backbone(built, name=name, pretrained=RANDOM, tokenizer=None, mean=(0.5,) * 3, std=(0.5,) * 3)


@torch.no_grad()
def shake(model: nn.Module, seed: int = 0) -> None:
    """Draw the weights of a random model anew, so that no part of it is without effect.

    As models are initialised, layer scales of 1e-5, biases of 0 and heads of 1e-5 hide whatever is wrong with them.

    Args:
        model: Changed in place.
        seed: Seed of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    for weights in model.parameters():
        noise = torch.randn(weights.shape, generator=generator)
        if weights.ndim == 1:
            weights.add_(0.2 * noise)
        elif weights.ndim > 1:
            weights.copy_(noise * (0.5 if weights.shape[0] == 1 else (weights.numel() / weights.shape[0]) ** -0.5))
