"""Images of a data set as the measurements see them: whole, on one patch grid, with the class of each patch."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovss.analysis import attention, between_patches, patch_labels
from ovss.backbone import Backbone, Tokens
from ovss.datasets import Dataset
from ovss.methods import Method

HEADS_BYTES = 2**21
"""Attention of one image is given to the explorer per head up to this size, as means over heads beyond it."""


@dataclass(frozen=True)
class Picture:
    """An image on a grid of whole patches.

    Attributes:
        id: Name within the data set.
        image: RGB image, resized so that its sides are multiples of the patch.
        labels: Ground truth at the original size (H, W).
        tokens: All hidden states of one pass.
        truth: Class of each patch (1, h, w), -1 where there is none.
    """

    id: str
    image: Image.Image
    labels: np.ndarray
    tokens: Tokens
    truth: np.ndarray

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        return self.tokens.grid


@torch.inference_mode()
def load_picture(backbone: Backbone, data: Dataset, index: int, position: str = "scale") -> Picture:
    """Bring an image's short side to the model's native size, whole, and run it through the model once.

    Args:
        backbone: The model.
        data: The data set.
        index: Which image.
        position: Rule of the position embedding.
    """
    sample = data[index]
    size, patch = backbone.image_size, backbone.patch_size
    scale = size / min(sample.image.size)
    width, height = (max(1, round(side * scale / patch)) * patch for side in sample.image.size)
    image = sample.image.resize((width, height), Image.Resampling.BICUBIC)
    tokens = backbone.encode_tokens(backbone.preprocess(image).unsqueeze(0), position=position)
    truth = patch_labels(sample.labels, tokens.grid, len(data.classes))[None]
    return Picture(sample.id, image, sample.labels, tokens, truth)


def telling_patch(truth: np.ndarray) -> tuple[int, int]:
    """Row and column of a patch worth looking at: the most central one of the smallest class with three patches.

    Args:
        truth: Class of each patch (h, w), -1 for none; the middle of the grid is taken where no class is that large.
    """
    classes, areas = np.unique(truth[truth >= 0], return_counts=True)
    large = areas >= 3
    if not large.any():
        return truth.shape[0] // 2, truth.shape[1] // 2
    chosen = classes[large][np.argmin(areas[large])]
    places = np.argwhere(truth == chosen)
    nearest = np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()
    return int(places[nearest, 0]), int(places[nearest, 1])


@torch.inference_mode()
def similarity(method: Method, tokens: Tokens) -> np.ndarray:
    """Cosine of every pair of a method's patch embeddings, (N, N) in -1..1, first image of the batch."""
    embedded = method.patch_embeddings(tokens)[0]
    return (embedded @ embedded.T).cpu().numpy()


@torch.inference_mode()
def explorer_entry(
    picture: Picture, methods: dict[str, Method], text: Tensor, query_class: Sequence[int], classes: Sequence[str]
) -> dict[str, Any]:
    """Everything that the static explorer shows of one image, ready for JSON.

    Args:
        image: The image.
        methods: Methods by label.
        text: Query embeddings (Q, E), unit rows.
        query_class: Class of each query.
        classes: Class names.

    Returns:
        The image as data address, patch grid, class names and patch classes; attention among patches per block and
        head, each row scaled to 0..255; per method its name, the cosines of patch embeddings, -1..1 as 0..255, and the
        class of each patch. Arrays are base64 of unsigned bytes.
    """
    tokens = picture.tokens
    size = tokens.grid[0] * tokens.grid[1]
    per_head = tokens.depth * tokens.backbone.heads * size**2 <= HEADS_BYTES
    maps = []
    for block in range(1, tokens.depth + 1):
        full = between_patches(attention(tokens, block))[0]  # (heads, N, N)
        maps.append(full if per_head else full.mean(0, keepdim=True))
    stacked = torch.stack(maps)  # (L, heads, N, N)
    scaled = stacked / stacked.amax(-1, keepdim=True)
    owner = torch.tensor(query_class)
    found = []
    for label, method in methods.items():
        scores = method.patch_scores(tokens, text)[0].flatten(1).cpu()  # (Q, N)
        cosines = (torch.from_numpy(similarity(method, tokens)) + 1) / 2
        labels = owner[scores.argmax(0)].tolist()
        found.append({"name": label, "cosines": _bytes(cosines), "classes": labels})
    return {
        "name": f"{picture.id}, {tokens.backbone.name} {tokens.backbone.pretrained}",
        "image": _address(picture.image),
        "grid": list(tokens.grid),
        "classes": list(classes),
        "truth": picture.truth[0].ravel().tolist(),
        "blocks": tokens.depth,
        "heads": stacked.shape[1] if per_head else 0,
        "attention": _bytes(scaled),
        "methods": found,
    }


def _bytes(values: Tensor) -> str:
    return base64.b64encode((values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy().tobytes()).decode()


def _address(image: Image.Image) -> str:
    """An image as an address that needs no file; enlarged so that its pixels can be seen."""
    factor = max(1, round(320 / max(image.size)))
    buffer = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
