"""One image, small enough to check by eye, with everything the walkthroughs need of it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ovss.analysis import patch_labels
from ovss.backbone import Backbone, Tokens
from ovss.images import load_image
from ovss.scenes.scenes import scene
from ovss.segment.windows import resize_image
from ovss.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary


@dataclass(frozen=True)
class Example:
    """A square image of the model's native size, its tokens and its words.

    Attributes:
        image: RGB, `backbone.image_size` pixels wide and high.
        pixels: The same, normalised, as a batch of one.
        tokens: All hidden states of one backbone pass.
        vocabulary: Classes, one word each.
        text: Unit text embedding of each class.
        truth: Class of each patch (1, h, w), -1 where there is none; None for an image without ground truth.
    """

    picture: Image.Image
    pixels: Float[Tensor, "1 3 S S"]
    tokens: Tokens
    vocabulary: Vocabulary
    text: Float[Tensor, "C E"]
    truth: np.ndarray | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; their position is the class index."""
        return self.vocabulary.classes


@torch.inference_mode()
def load_example(backbone: Backbone, image: str = "", classes: str = "", *, number: int = 10) -> Example:
    """Load an image, bring it to the model's native size and run it through the model once.

    Args:
        backbone: The model.
        image: Image file, of which the centre square is taken; empty takes image `number` of the `scenes` test
            split, which has ground truth.
        classes: Words as in "cat; sofa, couch"; empty takes the 22 classes of `scenes`. Of synonyms the first one
        counts. number: Image of the `scenes` test split.

    Raises:
        InputError: The image cannot be read, or the words cannot be used.
    """
    words = load_vocabulary(classes or "scenes")
    firsts = tuple(group[0] for group in words.words if group)
    numbers = tuple(i for i, group in enumerate(words.words) if group)
    vocabulary = replace(words, queries=firsts, query_class=numbers)
    mask = None
    if image:
        picture = load_image(image)
    else:
        drawn = scene("test", number)
        picture, mask = Image.fromarray(drawn.image), drawn.mask
    square = native_square(picture, backbone.image_size)
    pixels = backbone.preprocess(square)[None]
    tokens = backbone.encode_tokens(pixels)
    truth = None
    if mask is not None and not classes:
        truth = patch_labels(mask, tokens.grid, len(vocabulary.classes))[None]
    return Example(square, pixels, tokens, vocabulary, embed_vocabulary(backbone, vocabulary), truth)


def native_square(picture: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, resized to `size` pixels."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return resize_image(picture.crop((left, top, left + side, top + side)), (size, size), "pil-bicubic")
