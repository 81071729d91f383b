"""What the static explorer of the report shows of an image, and the similarity of patches."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from torch import Tensor

from ovss.analysis import attention, between_patches
from ovss.backbone import Tokens
from ovss.images.colours import class_colours, named_colours
from ovss.images.png import data_address
from ovss.lab.examples import Example
from ovss.methods import Method

__all__ = ["explorer_entry", "similarity"]

_HEADS_BYTES = 2**21
"""Attention of one image is given to the explorer per head up to this size, as means over heads beyond it."""


@torch.inference_mode()
def similarity(method: Method, tokens: Tokens) -> np.ndarray:
    """Cosine of every pair of a method's patch embeddings, (N, N) in -1..1, first image of the batch."""
    embedded = method.patch_embeddings(tokens)[0]
    return (embedded @ embedded.T).cpu().numpy()


@torch.inference_mode()
def explorer_entry(
    example: Example,
    methods: dict[str, Method],
    text: Tensor,
    query_class: Sequence[int],
    classes: Sequence[str],
    labels: np.ndarray,
) -> dict[str, Any]:
    """Everything that the static explorer shows of one image, ready for JSON.

    Args:
        example: An image with ground truth.
        methods: Methods by label.
        text: Query embeddings (Q, E), unit rows.
        query_class: Class of each query.
        classes: Class names.
        labels: Ground truth (H, W) of the whole image, of any size.

    Returns:
        The image and the outlines of its ground truth as data addresses, patch grid, class names, their colours and
        patch classes; attention among patches per block and
        head, each row scaled to 0..255; per method its name, the cosines of patch embeddings, -1..1 as 0..255, and the
        class of each patch. Arrays are base64 of unsigned bytes.
    """
    assert example.truth is not None
    tokens = example.tokens
    size = tokens.grid[0] * tokens.grid[1]
    per_head = tokens.depth * tokens.backbone.heads * size**2 <= _HEADS_BYTES
    maps = []
    for block in range(1, tokens.depth + 1):
        full = between_patches(attention(tokens, block), tokens.prefix)[0]  # (heads, N, N)
        maps.append(full if per_head else full.mean(0, keepdim=True))
    stacked = torch.stack(maps)  # (L, heads, N, N)
    scaled = stacked / stacked.amax(-1, keepdim=True)
    owner = torch.tensor(query_class)
    shown = []
    for label, method in methods.items():
        scores = method.patch_scores(tokens, text)[0].flatten(1).cpu()  # (Q, N)
        cosines = (torch.from_numpy(similarity(method, tokens)) + 1) / 2
        found = owner[scores.argmax(0)].tolist()
        shown.append({"name": label, "cosines": _bytes(cosines), "classes": found})
    image, names = _enlarged(example.image), tuple(classes)
    colours = named_colours(names)
    colours = class_colours(len(names)) if colours is None else colours
    return {
        "name": f"{example.id}, {tokens.backbone.name} {tokens.backbone.pretrained}",
        "image": data_address(image),
        "outlines": data_address(_outlines(labels, image.size)),
        "grid": list(tokens.grid),
        "classes": list(names),
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist()],
        "truth": example.truth[0].ravel().tolist(),
        "blocks": tokens.depth,
        "heads": stacked.shape[1] if per_head else 0,
        "attention": _bytes(scaled),
        "methods": shown,
    }


def _bytes(values: Tensor) -> str:
    return base64.b64encode((values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy().tobytes()).decode()


def _enlarged(image: Image.Image) -> Image.Image:
    """An image large enough for its pixels to be seen."""
    factor = max(1, round(320 / max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def _outlines(labels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Where classes meet, as a white line with a dark rim on nothing, of a size (width, height)."""
    width, height = size
    rows = [row * labels.shape[0] // height for row in range(height)]
    columns = [column * labels.shape[1] // width for column in range(width)]
    whole = labels[rows][:, columns]
    line = np.zeros(whole.shape, bool)
    line[:-1] |= whole[:-1] != whole[1:]
    line[:, :-1] |= whole[:, :-1] != whole[:, 1:]
    rim = np.asarray(binary_dilation(line, np.ones((3, 3), bool)), dtype=bool)
    drawn = np.zeros((*whole.shape, 4), np.uint8)
    drawn[rim] = (0, 0, 0, 160)
    drawn[line] = (255, 255, 255, 255)
    return Image.fromarray(drawn)
