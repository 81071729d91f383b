"""Figures of the causal atlas: what each part of the model does, and whose label a patch has after an exchange."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ovss.errors import InputError
from ovss.figures.images import _distinct_colours, _image_axes, _outline, shrink
from ovss.figures.matrices import matrix_figure
from ovss.figures.style import Plot, plain, styled
from ovss.images.colours import paint

_CHANCE = 0.05
"""Corrected p-value from which a change may be chance."""
_SIDE = 240
"""Pixels to which label maps are enlarged."""


def atlas_figure(frame: pd.DataFrame) -> Plot:
    """Change of mIoU without each head, and without each block's attention and FFN: blocks by parts.

    Args:
        frame: Rows of `ovss.analysis.causal.ablate`, of one way of taking parts out.

    Returns:
        The figure, with changes that may be chance in brackets, and a frame (matrix, row, column, value).

    Raises:
        InputError: The frame has no row of a head, an attention or an FFN, or two of one.
    """
    part: Any = frame[frame["kind"].isin(["head", "attention", "ffn"])]
    if part.empty:
        raise InputError("the frame has no row of a head, an attention or an FFN")
    words = {"attention": "attention", "ffn": "FFN"}
    names = [words.get(row.kind, f"head {row.head}") for row in part.itertuples()]
    part = part.assign(name=names)
    if part.duplicated(["name", "block"]).any():
        raise InputError("the frame has two rows of one part; choose one way of taking parts out")
    heads = sorted(part["head"].dropna().astype(int).unique())
    rows = [f"head {head}" for head in heads] + [word for word in words.values() if word in set(names)]
    table = part.pivot(index="name", columns="block", values="change").reindex(rows)
    chance = part.assign(chance=~(part["p_holm"] <= _CHANCE)).pivot(index="name", columns="block", values="chance")
    columns = [str(block) for block in table.columns]
    plot = matrix_figure(
        table.to_numpy(float),
        label="change of mIoU without it, points (in brackets: may be chance)",
        rows=rows,
        columns=columns,
        signed=True,
        faint=chance.reindex(rows).fillna(True).to_numpy(bool),
        decimals=1,
    )
    plot.figure.axes[0].set_xlabel("block")
    return plot


@styled
def exchange_figure(
    images: Mapping[str, Image.Image], maps: Mapping[str, np.ndarray], classes: Sequence[str], columns: int = 3
) -> Plot:
    """Images, then label maps of a patch grid, in reading order.

    Args:
        images: Title -> RGB image; they come first in their rows, one row for each.
        maps: Title -> class indices (h, w); as many for each image, row by row.
        classes: Class names.
        columns: Panels per row.

    Returns:
        The figure, and a frame (map, class, share) of the area each class takes.

    Raises:
        InputError: The panels do not fill their rows.
    """
    if len(images) * columns != len(images) + len(maps):
        raise InputError(f"{len(images)} images and {len(maps)} maps do not fill rows of {columns}")
    table, left = _distinct_colours(maps, classes), iter(maps.items())
    first = next(iter(images.values()))
    figure, axes = _image_axes(first.size, len(images) * columns, columns=columns)
    rows = []
    for number, (title, image) in enumerate(images.items()):
        line = axes[number * columns : (number + 1) * columns]
        line[0].imshow(shrink(image))
        line[0].set_title(plain(title, 30))
        for axis in line[1:]:
            name, labels = next(left)
            factor = max(1, _SIDE // max(labels.shape))
            full = np.kron(labels, np.ones((factor, factor), dtype=labels.dtype))
            axis.imshow(paint(full, table), interpolation="nearest")
            _outline(axis, full, classes)
            axis.set_title(plain(name, 34))
            shares = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
            rows += [(name, classes[index], float(shares[index])) for index in np.flatnonzero(shares)]
    return Plot(figure, pd.DataFrame(rows, columns=["map", "class", "share"]))
