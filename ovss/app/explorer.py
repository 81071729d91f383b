"""Click a patch and see what it attends to, per block and head, side by side for several methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib
import numpy as np
import torch
from PIL import Image

from ovss.analysis import attention, between_patches
from ovss.analysis.mixing import method_attention
from ovss.app.head_maps import HeadMaps
from ovss.backbone import Backbone
from ovss.errors import InputError
from ovss.figures.style import MAPS
from ovss.images import load_image, to_rgb
from ovss.images.png import png_bytes
from ovss.lab.examples import native_square
from ovss.methods import Method, create_method

__all__ = ["explore_attention"]

_SIDE = 264
"""Width in pixels of the clickable image and of each map."""
_MEAN = "mean of heads"
_BLANK = "\N{NO-BREAK SPACE}"
"""Description of a patch that is not chosen; the browser keeps the old text of a button whose description is empty."""


class AttentionExplorer:
    """State and widgets of the explorer; show `view` in a notebook.

    The left side is the image as a board of patches to click. Each map on the right shows what the chosen patch
    attends to: bright is much, scaled to the largest value, which stands above it. Methods differ in the last block
    only, so the maps of earlier blocks are those of the model and equal.

    Args:
        backbone: The model.
        image: File, PIL image or array; its centre square is used.
        methods: Names of methods, or methods from `create_method`.
        words: Classes as in "cat; sofa, couch" whose scores are shown head by head below; empty shows none.

    Raises:
        InputError: No method, an unknown one, or one whose last block is not a single attention map.
    """

    def __init__(
        self,
        backbone: Backbone,
        image: str | Path | Image.Image | np.ndarray,
        methods: Sequence[str | Method],
        words: str = "",
    ) -> None:
        self.methods = [create_method(method) if isinstance(method, str) else method for method in methods]
        if not self.methods:
            raise InputError("explore_attention needs at least one method")
        full = load_image(image) if isinstance(image, str | Path) else to_rgb(image)
        self.image = native_square(full, backbone.image_size)
        with torch.inference_mode():
            self.tokens = backbone.encode_tokens(backbone.preprocess(self.image)[None])
        self._last = [method_attention(self.tokens, method)[0].cpu() for method in self.methods]  # (heads, N, N) each
        h, w = self.tokens.grid
        self.patch = (h // 2, w // 2)
        heads = [_MEAN, *(f"head {number}" for number in range(1, backbone.heads + 1))]
        last = self.tokens.depth
        self.block = widgets.IntSlider(last, 1, last, description="block", continuous_update=False)
        self.head = widgets.Dropdown(options=heads, description="head")
        self.board = self._make_board()
        self.maps = [self._widget(self._plain(), "ovss-map") for _ in self.methods]
        self.captions = [widgets.HTML() for _ in self.methods]
        columns = [widgets.VBox([*pair]) for pair in zip(self.captions, self.maps, strict=True)]
        clickable = widgets.VBox([widgets.HTML("click a patch"), self.board])
        whole = widgets.VBox([widgets.HTML("image"), self._widget(self._plain(), "ovss-picture")])
        board = widgets.HBox([clickable, whole, *columns], layout={"flex_flow": "row wrap"})
        self.heads = HeadMaps(self.tokens, self.methods, words) if words else None
        below = [self.heads.view] if self.heads else []
        self.view = widgets.VBox([widgets.HBox([self.block, self.head]), board, *below])
        self.view.add_class("ovss-explorer")
        for control in (self.block, self.head):
            control.observe(lambda _: self.refresh(), names="value")
        self.refresh()

    def _make_board(self) -> widgets.GridBox:
        h, w = self.tokens.grid
        means = np.asarray(self.image.resize((w, h), Image.Resampling.BOX))
        cell = f"{_SIDE // max(h, w)}px"
        self.buttons: list[widgets.Button] = []
        for row, column in np.ndindex(h, w):
            layout = {"width": cell, "height": cell, "margin": "0", "padding": "0"}
            button = widgets.Button(tooltip=f"row {row}, column {column}", layout=layout)
            button.style.button_color = "#{:02x}{:02x}{:02x}".format(*means[row, column])
            button.on_click(self._clicked(row, column))
            self.buttons.append(button)
        lanes = {"grid_template_columns": f"repeat({w}, {cell})", "grid_template_rows": f"repeat({h}, {cell})"}
        return widgets.GridBox(self.buttons, layout=lanes | {"grid_gap": "0", "overflow": "hidden"})

    def _clicked(self, row: int, column: int) -> Any:
        return lambda _button: self.select(row, column)

    def select(self, row: int, column: int) -> None:
        """Choose the patch that attends.

        Raises:
            InputError: The patch is outside the grid.
        """
        h, w = self.tokens.grid
        if not (0 <= row < h and 0 <= column < w):
            raise InputError(f"patch ({row}, {column}) is outside the grid of {h} rows and {w} columns")
        self.patch = (row, column)
        self.refresh()

    def attention(self, number: int) -> np.ndarray:
        """What the chosen patch attends to under method `number`, in the chosen block and head: (h, w), sums to 1."""
        block = int(self.block.value)
        if block == self.tokens.depth:
            maps = self._last[number]
        else:
            maps = between_patches(attention(self.tokens, block), self.tokens.prefix)[0].cpu()
        row = maps[:, self.patch[0] * self.tokens.grid[1] + self.patch[1]]  # (heads, N)
        head = int(self.head.index or 0)
        chosen = row.mean(0) if head == 0 else row[min(head - 1, len(row) - 1)]
        return chosen.view(self.tokens.grid).numpy()

    def refresh(self) -> None:
        """Draw all maps again and mark the chosen patch on the board."""
        for number, button in enumerate(self.buttons):
            chosen = number == self.patch[0] * self.tokens.grid[1] + self.patch[1]
            button.description = "x" if chosen else _BLANK
        for number, method in enumerate(self.methods):
            values = self.attention(number)
            self.maps[number].value = self._draw(values)
            self.captions[number].value = f"<b>{method.label}</b> &nbsp; brightest: {values.max():.2f}"

    def _plain(self) -> Image.Image:
        return self.image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)

    @staticmethod
    def _widget(image: Image.Image, css: str) -> widgets.Image:
        widget = widgets.Image(value=png_bytes(image), format="png", width=_SIDE, height=_SIDE)
        widget.add_class(css)
        return widget

    def _draw(self, values: np.ndarray) -> bytes:
        colours = matplotlib.colormaps[MAPS](values / max(float(values.max()), 1e-12), bytes=True)[..., :3]
        heat = Image.fromarray(colours).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        return png_bytes(Image.blend(self._plain().convert("L").convert("RGB"), heat, 0.75))


def explore_attention(
    backbone: Backbone,
    image: str | Path | Image.Image | np.ndarray,
    methods: Sequence[str | Method] = ("clip", "naclip"),
    words: str = "",
) -> widgets.VBox:
    """In Jupyter: click a patch and see what it attends to, per block and head, side by side for several methods.

    Args:
        backbone: A model from `load_backbone`.
        image: File, PIL image or array; its centre square is used.
        methods: Names, or methods from `create_method`; see `ovss.analysis.mixing.METHODS`.
        words: Classes as in "cat; sofa, couch": below the attention, what each head of the last block adds to the score
            of each patch, for methods whose scores are such sums. Empty shows none.

    Returns:
        A widget; as the last line of a cell it is shown.

    Raises:
        InputError: No method, an unknown one, or one whose last block is not a single attention map.
    """
    return AttentionExplorer(backbone, image, methods, words).view
