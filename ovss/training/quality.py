"""What a model trained on `scenes` can do: name single objects, combine attributes, segment; and its outlier tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone
from ovss.methods import Method, create_method
from ovss.metrics import count_labels, measure
from ovss.protocols import load_protocol
from ovss.scenes.captions import TEMPLATES, names
from ovss.scenes.objects import COLOURS, HELD_OUT_COLOURS, HELD_OUT_NIGHT, THINGS, VARIANTS_OF
from ovss.scenes.scenes import CLASSES, Scene, scene, single
from ovss.segment.scorer import Scorer
from ovss.vocabulary import Vocabulary

_CURVE_METHODS = ("clip", "naclip")
Cases = list[tuple[str, str, dict[str, Any]]]
_SHORT_TEMPLATES = ("{}", "a photo of a {}", "a picture of a {}")


def _class_vocabulary() -> Vocabulary:
    """The 22 classes of `scenes`, synonyms included, with OpenAI's templates."""
    pairs = [(word, label) for label in range(len(CLASSES)) for word in names(label)]
    return Vocabulary(
        classes=CLASSES,
        queries=tuple(word for word, _ in pairs),
        query_class=tuple(label for _, label in pairs),
        templates=TEMPLATES,
        name="scenes",
    )


def dense_counts(
    backbone: Backbone, methods: Mapping[str, Method], split: str, count: int, variant: str = "scenes"
) -> np.ndarray:
    """Pixel counts under the `study` protocol, all 22 classes as labels.

    Args:
        backbone: The model.
        methods: Methods by label; all of them see the same tokens.
        split: As in `scene`; "test-7" gives scenes that no one has looked at.
        count: Number of scenes.
        variant: As in `scene`.

    Returns:
        int64 (methods, scenes, 3, 22): intersection, ground-truth area, predicted area.
    """
    scorer = Scorer(backbone, methods, _class_vocabulary(), load_protocol("study"))
    counts = np.zeros((len(methods), count, 3, len(CLASSES)), np.int64)
    for i in range(count):
        drawn = scene(split, i, variant)
        prepared = scorer.prepare(Image.fromarray(drawn.image))
        with torch.inference_mode():
            fields = scorer.score([prepared])[0]
            for row, label in enumerate(methods):
                counts[row, i] = count_labels(fields[label].labels(), drawn.mask, len(CLASSES))
    return counts


def summarise(counts: np.ndarray) -> dict[str, Any]:
    """mIoU over all classes, things and stuff, and the IoU of each class, in percent.

    Args:
        counts: (scenes, 3, 22), as from `dense_counts`.
    """
    iou = measure(counts.sum(0)).iou
    parts = {"miou": iou, "things": iou[: len(THINGS)], "stuff": iou[len(THINGS) :]}
    means = {name: round(float(np.nanmean(values)), 2) for name, values in parts.items()}
    return means | {"classes": {name: round(float(v), 1) for name, v in zip(CLASSES, iou, strict=True)}}


@torch.inference_mode()
def _text(backbone: Backbone, phrases: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Tensor:
    """(P, E) unit embeddings of phrases, averaged over templates."""
    rows = [F.normalize(backbone.encode_text([t.format(p) for t in templates]), dim=-1).mean(0) for p in phrases]
    return F.normalize(torch.stack(rows), dim=-1)


@torch.inference_mode()
def _pictures(backbone: Backbone, scenes: Sequence[Scene]) -> Tensor:
    """(B, E) unit image embeddings."""
    return F.normalize(backbone.encode_image(torch.stack([backbone.preprocess(s.image) for s in scenes])), dim=-1)


def _portraits(backbone: Backbone, thing: str, split: str, count: int, **options: Any) -> list[Scene]:
    """Images of one thing at the model's native size."""
    return [single(thing, i, split=split, size=backbone.image_size, **options) for i in range(count)]


def naming(backbone: Backbone, split: str, per_thing: int) -> float:
    """Share (percent) of single-object images whose thing is named correctly among the twelve."""
    text = _text(backbone, THINGS)
    right = 0
    for label, thing in enumerate(THINGS):
        scores = _pictures(backbone, _portraits(backbone, thing, split, per_thing)) @ text.T
        right += int((scores.argmax(1) == label).sum())
    return 100 * right / (per_thing * len(THINGS))


def compositional(backbone: Backbone, split: str, per_combination: int) -> dict[str, dict[str, float]]:
    """Recognition (percent) of combinations that training never showed.

    Returns:
        For "colour" and "night", each as `recognised`, `attribute`, `exact` with its `chance`, and the number of
        `images`. An image is `recognised` when its caption wins against the same thing with its other attributes and
        against all other things without any; `attribute` leaves out the other things; `exact` is the hardest choice,
        among every colour of every thing that has colours, or every thing by night and by day.
    """
    colours = {thing: [f"{colour} {thing}" for colour in VARIANTS_OF[thing]] for thing in VARIANTS_OF}
    lights = {thing: [f"{thing} at night", f"{thing} by day"] for thing in THINGS}
    every_colour = [f"{colour} {thing}" for thing in VARIANTS_OF for colour in COLOURS]
    every_light = [phrase for phrases in lights.values() for phrase in phrases]
    coloured: Cases = [(t, f"{c} {t}", {"colour": c}) for t, c in sorted(HELD_OUT_COLOURS)]
    dark: Cases = [(t, f"{t} at night", {"night": True}) for t in sorted(HELD_OUT_NIGHT)]
    result = {}
    for name, cases, same, every in (
        ("colour", coloured, colours, every_colour),
        ("night", dark, lights, every_light),
    ):
        right = np.zeros(3, int)
        for thing, truth, options in cases:
            others = [other for other in THINGS if other != thing]
            pictures = _pictures(backbone, _portraits(backbone, thing, split, per_combination, **options))
            for row, phrases in enumerate(([*same[thing], *others], same[thing], every)):
                scores = pictures @ _text(backbone, phrases, _SHORT_TEMPLATES).T
                right[row] += int((scores.argmax(1) == phrases.index(truth)).sum())
        total = len(cases) * per_combination
        shares = {
            k: round(100 * int(n) / total, 1) for k, n in zip(("recognised", "attribute", "exact"), right, strict=True)
        }
        result[name] = shares | {"chance": round(100 / len(every), 1), "pictures": total}
    return result


@torch.inference_mode()
def outliers(backbone: Backbone, split: str, count: int) -> list[dict[str, float]]:
    """Do a few patch tokens stand out, as in large vision transformers (Darcet et al. 2024)? Measured per block.

    Returns:
        Per block (1-based), of the patches of its output unless said, means over images:
            norm_max_over_median: Largest norm over the median norm.
            norm_share: Percent of patches with more than three times the median norm.
            column_max: Largest mean attention that a patch receives from the patches, times their number.
            global_share: Percent of patches whose column mean exceeds mean + 3 std of its image.
            neighbour_score_max: Largest ratio of a patch's distance to its 5th neighbour to that of its neighbours.
            cosine: Mean cosine between patches.
    """
    pictures = [scene(split, i, size=(backbone.image_size, backbone.image_size)).image for i in range(count)]
    tokens = backbone.encode_tokens(torch.stack([backbone.preprocess(p) for p in pictures]))
    rows = []
    for layer in range(1, backbone.depth + 1):
        x = tokens.hidden(layer)[:, 1:].float()  # (B, N, D)
        norms = x.norm(dim=-1)
        middle = norms.median(1, keepdim=True).values
        q, k, _ = tokens.qkv(layer)
        attention = (q.float() @ k.float().mT * q.shape[-1] ** -0.5).softmax(-1)[:, :, 1:, 1:].mean((1, 2))  # (B, N)
        limit = attention.mean(1, keepdim=True) + 3 * attention.std(1, keepdim=True)
        distance, near = torch.cdist(x, x).topk(6, largest=False)  # (B, N, 6), itself first
        reach = distance[..., -1]
        around = torch.gather(reach, 1, near[..., 1:].flatten(1)).view_as(near[..., 1:])
        score = (reach.unsqueeze(-1) / around.clamp_min(1e-6)).mean(-1)
        unit = F.normalize(x, dim=-1)
        values = {
            "norm_max_over_median": (norms.amax(1, keepdim=True) / middle).mean(),
            "norm_share": 100 * (norms > 3 * middle).float().mean(),
            "column_max": x.shape[1] * attention.amax(1).mean(),
            "global_share": 100 * (attention > limit).float().mean(),
            "neighbour_score_max": score.amax(1).mean(),
            "cosine": (unit @ unit.mT).mean(),
        }
        rows.append({"block": layer, **{name: round(float(value), 3) for name, value in values.items()}})
    return rows


def curve_point(backbone: Backbone, count: int) -> dict[str, float]:
    """A point of the training curve: naming, and mIoU of `clip` and `naclip`, on the validation split."""
    methods = {name: create_method(name) for name in _CURVE_METHODS}
    row = {"naming": round(naming(backbone, "val", 8), 2)}
    for name, counts in zip(methods, dense_counts(backbone, methods, "val", count), strict=True):
        found = summarise(counts)
        row |= {f"{name}_{part}": found[part] for part in ("miou", "things", "stuff")}
    return row
