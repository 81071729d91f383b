"""Which words an image is asked for at all: a prior on presence from what CLIP says about the image and its windows.

A patch is compared with every word, those of classes that are nowhere in the image included. The model's own answer for
an image, its class token or pool, was trained to say what the image shows. The rule has no number to tune: a class
stays in the choice where, for the whole image or one of its windows, the answer gives one of its words at least the
probability of chance, 1 / Q for Q words; or where the labels without the prior give the class at least its share of
the image, 1 / C for C classes. The second part keeps what the answers pass over; by it some class always stays.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.backbone import Backbone, Tokens
from ovss.backbone.devices import constant, tally
from ovss.methods.base import cls_embedding
from ovss.segment.labels import LabelRule, ScoreMap
from ovss.segment.windowed import WindowedImage

__all__ = ["evident_classes", "image_answer", "window_answers", "with_prior"]


def window_answers(tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q"]:
    """Cosine of the model's own answer for each window with each word."""
    return cls_embedding(tokens) @ text.T


def image_answer(
    backbone: Backbone, image: WindowedImage, text: Float[Tensor, "Q E"], position: str
) -> Float[Tensor, "1 Q"]:
    """Cosine of the model's own answer for the whole image with each word.

    Args:
        backbone: The model.
        image: The image, which is brought to the square that the model was trained on.
        text: Embeddings of the words, rows of unit length.
        position: Rule by which position embeddings are resized.
    """
    side = (backbone.image_size, backbone.image_size)
    whole = F.interpolate(image.pixels[None], size=side, mode="bilinear", antialias=True, align_corners=False)
    return window_answers(backbone.encode_tokens(whole, layers={backbone.depth - 1}, position=position), text)


def evident_classes(answers: Float[Tensor, "B Q"], rule: LabelRule) -> Bool[Tensor, " C"]:
    """Classes one of whose words has at least the probability of chance in one of the answers.

    Args:
        answers: Cosines of the words with the answer for each crop of an image.
        rule: Scale and reading of the cosines, and the class of each word.

    Example:
        >>> rule = LabelRule((0, 1, 1), 2, scale=40.0, background=0, threshold=None, area=None)
        >>> evident_classes(torch.tensor([[0.3, 0.1, 0.1], [0.3, 0.1, 0.2]]), rule).tolist()
        [True, False]
    """
    chances = rule.chances(answers.T)  # (Q, B)
    words = (chances >= 1 / len(chances)).any(dim=1)
    owner = constant(rule.query_class, answers.device)
    found = torch.zeros(rule.classes, dtype=torch.bool, device=answers.device)
    found[owner[words]] = True
    return found


def with_prior(scores: ScoreMap, evident: Bool[Tensor, " C"]) -> ScoreMap:
    """Scores with only those words to choose from whose class is evident or covers its share of the image.

    Words of the background stay where it is what uncertain pixels become.

    Args:
        scores: Scores of all words.
        evident: See `evident_classes`.
    """
    rule = scores.rule
    areas = tally(scores.best(), rule.classes)
    kept = evident.to(areas.device) | (areas * rule.classes >= scores.size[0] * scores.size[1])
    if rule.threshold is not None:
        kept[rule.background] = True
    return scores.offering(kept[constant(rule.query_class, areas.device)].nonzero().flatten())
