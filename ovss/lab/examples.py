"""One image with everything that a notebook needs of it: tokens of one pass, words, the class of each patch."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ovss.analysis import patch_labels
from ovss.backbone import Backbone, Tokens
from ovss.datasets import Dataset
from ovss.images import load_image
from ovss.scenes.scenes import scene
from ovss.segment.windows import resize_image
from ovss.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary

__all__ = ["dataset_example", "example_patch", "native_square"]


@dataclass(frozen=True)
class Example:
    """An image on a grid of whole patches.

    Attributes:
        id: Name of the image.
        image: RGB image as the model sees it; its sides are multiples of the patch.
        tokens: All hidden states of one pass.
        vocabulary: Classes and their queries.
        truth: Class of each patch (1, h, w), -1 where there is none; None for an image without ground truth.
    """

    id: str
    image: Image.Image
    tokens: Tokens
    vocabulary: Vocabulary
    truth: np.ndarray | None

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        return self.tokens.grid

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; their position is the class index."""
        return self.vocabulary.classes

    @property
    def pixels(self) -> Float[Tensor, "1 3 H W"]:
        """The image, normalised, as a batch of one."""
        return self.tokens.backbone.preprocess(self.image)[None]

    @cached_property
    def text(self) -> Float[Tensor, "Q E"]:
        """Unit text embedding of each query."""
        return embed_vocabulary(self.tokens.backbone, self.vocabulary)


@torch.inference_mode()
def load_example(backbone: Backbone, image: str = "", classes: str = "", *, number: int = 10) -> Example:
    """Load an image, bring it to the model's native size and run it through the model once.

    Args:
        backbone: The model.
        image: Image file, of which the centre square is taken; empty takes image `number` of the `scenes` test
            split, which has ground truth.
        classes: Words as in "cat; sofa, couch", of whose synonyms the first one counts; empty takes the 22 classes
            of `scenes`.
        number: Image of the `scenes` test split.

    Returns:
        The square, with one query for each class.

    Raises:
        InputError: The image cannot be read, or the words cannot be used.
    """
    words = load_vocabulary(classes or "scenes")
    firsts = tuple(group[0] for group in words.words if group)
    numbers = tuple(i for i, group in enumerate(words.words) if group)
    vocabulary = replace(words, queries=firsts, query_class=numbers)
    mask = None
    if image:
        full = load_image(image)
    else:
        drawn = scene("test", number)
        full, mask = Image.fromarray(drawn.image), drawn.mask
    square = native_square(full, backbone.image_size)
    tokens = backbone.encode_tokens(backbone.preprocess(square)[None])
    truth = None
    if mask is not None and not classes:
        truth = patch_labels(mask, tokens.grid, len(vocabulary.classes))[None]
    return Example(image or f"scene {number}", square, tokens, vocabulary, truth)


@torch.inference_mode()
def dataset_example(backbone: Backbone, data: Dataset, index: int, position: str = "scale") -> Example:
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
    tokens = backbone.encode_tokens(backbone.preprocess(image)[None], position=position)
    truth = patch_labels(sample.labels, tokens.grid, len(data.classes))[None]
    return Example(sample.id, image, tokens, load_vocabulary(data.vocabulary_name), truth)


def native_square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, resized to `size` pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return resize_image(image.crop((left, top, left + side, top + side)), (size, size), "pil-bicubic")


def example_patch(truth: np.ndarray) -> tuple[int, int]:
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
