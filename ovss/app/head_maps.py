"""Score maps head by head, below the attention maps of the explorer: which head of the last block said it."""

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ovss.analysis.causal import head_scores
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.figures.style import SIGNED
from ovss.images.png import png_bytes
from ovss.methods import Method
from ovss.vocabulary import embed_vocabulary, load_vocabulary

_SIDE = 96
"""Width in pixels of a map."""


class HeadMaps:
    """For a class: what each head of the last block, and the biases, add to the score of each patch; `view` shows it.

    All maps of a method have one scale around zero, and they add up to the last one. Where a method's scores are not a
    sum over heads, it says why.

    Args:
        tokens: One pass over one image.
        methods: Methods to show.
        words: Classes as in "cat; sofa, couch"; the synonyms of a class are averaged.
    """

    def __init__(self, tokens: Tokens, methods: Sequence[Method], words: str) -> None:
        vocabulary = load_vocabulary(words)
        queries, owner = embed_vocabulary(tokens.backbone, vocabulary), torch.tensor(vocabulary.query_class)
        text = torch.stack([queries[owner == number].mean(0) for number in owner.unique().tolist()])
        names = [vocabulary.classes[number] for number in owner.unique().tolist()]
        self.scores: dict[str, np.ndarray] = {}
        self.refusals: dict[str, str] = {}
        for method in methods:
            try:
                found = head_scores(tokens, method, F.normalize(text, dim=-1))[0]  # (heads + 1, C, h, w)
                self.scores[method.label] = found.cpu().numpy()
            except InputError as error:
                self.refusals[method.label] = str(error)
        self.names = names
        self.choice = widgets.Dropdown(options=list(zip(names, range(len(names)), strict=True)), description="class")
        self.rows = {label: widgets.HBox(layout={"flex_flow": "row wrap"}) for label in self.scores}
        lines: list[widgets.Widget] = [self.choice]
        for method in methods:
            label = method.label
            lines.append(widgets.HTML(f"<b>{escape(label)}</b>, head by head"))
            lines.append(self.rows[label] if label in self.rows else widgets.HTML(escape(self.refusals[label])))
        self.view = widgets.VBox(lines)
        self.view.add_class("ovss-heads")
        self.choice.observe(lambda _: self.refresh(), names="value")
        self.refresh()

    def maps(self, label: str) -> dict[str, np.ndarray]:
        """Contributions to the score of the chosen class, (h, w) by title; the last one is their sum."""
        parts = self.scores[label][:, int(self.choice.index or 0)]
        titles = [*(f"head {number}" for number in range(1, len(parts))), "biases"]
        return dict(zip(titles, parts, strict=True)) | {"score": parts.sum(0)}

    def refresh(self) -> None:
        """Draw the maps of the chosen class."""
        for label, row in self.rows.items():
            maps = self.maps(label)
            reach = max(float(np.abs(values).max()) for values in maps.values()) or 1.0
            row.children = [
                widgets.VBox([widgets.HTML(title), _drawn(values / reach)]) for title, values in maps.items()
            ]


def _drawn(values: np.ndarray) -> widgets.Image:
    """Values of -1..1 as an image."""
    colours = matplotlib.colormaps[SIGNED]((values + 1) / 2, bytes=True)[..., :3]
    enlarged = Image.fromarray(colours).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
    return widgets.Image(value=png_bytes(enlarged), format="png", width=_SIDE, height=_SIDE)
