"""Images, label maps and patch maps side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image
from scipy.ndimage import distance_transform_edt

from ovss.errors import InputError
from ovss.figures.style import MAPS, WIDTH, Plot, new_figure, plain, styled
from ovss.images.colours import DISTINCT, class_colours, named_colours, paint

__all__ = ["shrink"]

_LONGEST = 1200
"""Side in pixels from which images are made smaller for display."""
_STRETCH = 10.0
"""Aspect ratio beyond which an image is drawn stretched: a strip of 4000 x 60 pixels would be a line."""


class _Labelled(Protocol):
    """An image with a class for every pixel, as a `Segmenter` returns it."""

    @property
    def image(self) -> Image.Image:
        """RGB image (H, W)."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """Class of each pixel, (H, W)."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""
        ...

    @property
    def method(self) -> str:
        """Label of the method."""
        ...


@styled
def segmentation_figure(segmentation: _Labelled) -> Figure:
    """Image beside its classes, with a legend of those that occur and their share of the area.

    Args:
        segmentation: What a `Segmenter` returned.
    """
    maps = {segmentation.method: segmentation.labels}
    table = _distinct_colours(maps, segmentation.classes)
    return _label_figure(segmentation.image, maps, segmentation.classes, table, shares=True)


@styled
def label_figure(image: Image.Image, maps: Mapping[str, np.ndarray], classes: Sequence[str]) -> Plot:
    """An image and any number of label maps of it, one legend for all.

    Classes of the `scenes` data set have colours of their own, the same in every figure. Others have those of the
    palette; of more than twelve some are hard to tell apart, so if at most twelve occur there, these take the first
    twelve colours in the order of their indices. Large regions carry their name.

    Args:
        image: RGB image.
        maps: Title -> class indices (H, W) of the image's size, or of a patch grid; other indices are void.
        classes: Class names.

    Returns:
        The figure, and a frame (map, class, share) of the area each class takes.
    """
    rows = [
        {"map": title, "class": name, "share": share}
        for title, labels in maps.items()
        for name, share in _shares(labels, classes).items()
    ]
    table = _distinct_colours(maps, classes)
    return Plot(_label_figure(image, maps, classes, table), pd.DataFrame(rows, columns=["map", "class", "share"]))


def _distinct_colours(maps: Mapping[str, np.ndarray], classes: Sequence[str]) -> np.ndarray:
    named = named_colours(classes)
    if named is not None:
        return named
    table = class_colours(len(classes)).copy()
    present = sorted(_present(maps, classes))
    if len(classes) > DISTINCT >= len(present):
        table[present] = class_colours(len(present))
    return table


def _shares(labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    valid = (labels >= 0) & (labels < len(classes))
    counts = np.bincount(labels[valid], minlength=len(classes)) / max(labels.size, 1)
    return {str(classes[i]): float(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i] > 0}


def _label_figure(
    image: Image.Image,
    maps: Mapping[str, np.ndarray],
    classes: Sequence[str],
    table: np.ndarray,
    shares: bool = False,
) -> Figure:
    small = shrink(image)
    panels: list[tuple[str, Image.Image]] = [("image", small)]
    labels_of: dict[str, np.ndarray] = {}
    for title, labels in maps.items():
        full = np.asarray(labels)
        if full.ndim != 2:
            raise InputError(f"label map '{title}' must be (H, W), not {full.shape}")
        rows = np.arange(small.height) * full.shape[0] // small.height
        columns = np.arange(small.width) * full.shape[1] // small.width
        labels_of[title] = full[np.ix_(rows, columns)]
        panels.append((title, Image.fromarray(paint(labels_of[title], table))))
    entries, void = _legend_entries(maps, classes, shares)
    columns = _legend_columns(entries)
    legend_rows = math.ceil(len(entries) / columns) * max(entry.count("\n") + 1 for entry in entries)
    figure, axes = _image_axes(small.size, len(panels), extra=0.17 * legend_rows + 0.15)
    for axis, (title, panel) in zip(axes, panels, strict=True):
        axis.imshow(panel, aspect=_aspect(small.size), interpolation="nearest")
        axis.set_title(plain(title, 34 if len(panels) < 3 else 22))
        if title in labels_of:
            _outline(axis, labels_of[title], classes)
    colours = table / 255
    present = _present(maps, classes)
    handles = [Patch(facecolor=colours[i], edgecolor="0.4", linewidth=0.5) for i in present]
    handles += [Patch(facecolor="white", edgecolor="0.4", linewidth=0.5)] * void
    legend = figure.legend(
        handles, [str(i) for i in range(len(handles))], loc="outside lower center", ncols=columns, handlelength=1.2
    )
    # Set afterwards, because matplotlib drops legend entries whose text begins with an underscore.
    for text, entry in zip(legend.get_texts(), entries, strict=True):
        text.set_text(entry)
    return figure


def _outline(axis: Axes, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Lines between regions, and the names of classes in regions large enough to hold them."""
    height, width = labels.shape
    across, down = np.nonzero(labels[:, 1:] != labels[:, :-1]), np.nonzero(labels[1:] != labels[:-1])
    style = {"color": "white", "linewidth": 0.6}
    axis.vlines(across[1] + 0.5, across[0] - 0.5, across[0] + 0.5, **style)
    axis.hlines(down[0] + 0.5, down[1] - 0.5, down[1] + 0.5, **style)
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for number in np.unique(labels[(labels >= 0) & (labels < len(classes))]):
        inside = np.pad(labels == number, 1)
        depth = np.asarray(distance_transform_edt(inside))[1:-1, 1:-1]
        name = plain(str(classes[int(number)]), 12, lines=1)
        # Half the width of a name of n letters is about n / 40 of a panel.
        if depth.max() < max(0.08, len(name) / 45) * min(height, width):
            continue
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        text = axis.text(float(column), float(row), name, ha="center", va="center", fontsize=6.5, color="white")
        text.set_path_effects([withStroke(linewidth=1.8, foreground="0.15")])


def _present(maps: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[int]:
    """Class indices that occur, largest area first."""
    counts = np.zeros(len(classes))
    for labels in maps.values():
        valid = (labels >= 0) & (labels < len(classes))
        counts += np.bincount(labels[valid], minlength=len(classes)) / max(labels.size, 1)
    return [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > 0]


def _legend_entries(maps: Mapping[str, np.ndarray], classes: Sequence[str], shares: bool) -> tuple[list[str], bool]:
    first = next(iter(maps.values()))
    share = _shares(first, classes)
    entries = []
    for index in _present(maps, classes):
        name = plain(classes[index], 38, lines=2)
        entries.append(f"{name}  {_percent(share[classes[index]])}" if shares else name)
    void = any(((labels < 0) | (labels >= len(classes))).any() for labels in maps.values())
    return entries + ["void"] * void, void


def _percent(share: float) -> str:
    return "<1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _legend_columns(entries: Sequence[str]) -> int:
    longest = max(len(line) for entry in entries for line in entry.split("\n"))
    most = max(1, min(len(entries), 5, 96 // (longest + 7)))
    return math.ceil(len(entries) / math.ceil(len(entries) / most))


def shrink(image: Image.Image) -> Image.Image:
    """An image at display size: no side longer than 1200 pixels and none shorter than one."""
    factor = _LONGEST / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BOX)


def _aspect(size: tuple[int, int]) -> str:
    return "equal" if max(size) <= _STRETCH * min(size) else "auto"


def _image_axes(size: tuple[int, int], count: int, extra: float = 0.0, columns: int | None = None):
    """A figure with one frameless axis per image: beside each other, or below each other where they are wide.

    Args:
        size: Width and height of an image in pixels.
        count: How many images.
        extra: Inches of height to add, for a legend or a colour bar.
        columns: Images per row; None chooses by the aspect ratio.

    Returns:
        The figure and the list of axes.
    """
    ratio = float(np.clip(size[0] / size[1], 1 / _STRETCH, _STRETCH))
    if columns is None:
        most = 1 if ratio > 2.4 else 2 if ratio > 1.6 else 4
        columns = math.ceil(count / math.ceil(count / most))  # rows of equal length: 5 are 3 + 2, not 4 + 1
    rows = math.ceil(count / columns)
    cell = WIDTH / columns
    height = min(cell / ratio, 4.5, cell * 1.6)
    figure = new_figure(rows * (height + 0.3) + extra)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        axis.set_axis_off()
    return figure, axes[:count]


@styled
def map_figure(
    image: Image.Image | None,
    maps: Mapping[str, np.ndarray],
    *,
    label: str,
    cmap: str = MAPS,
    limits: tuple[float, float] | None = None,
    marks: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    columns: int | None = None,
) -> Plot:
    """Quantities over the patch grid on one colour scale, beside the image they belong to.

    Args:
        image: RGB image shown first; None shows the maps alone.
        maps: Title -> values (h, w).
        label: What the colour means, with its unit.
        cmap: matplotlib colour map.
        limits: Values at the ends of the colour scale; None takes the smallest and largest of all maps.
        marks: Title (of a map, or "image") -> patches (row, column) to put a cross on.
        columns: Panels per row.

    Returns:
        The figure, and a frame (map, row, column, value).
    """
    values = {title: np.asarray(value, dtype=float) for title, value in maps.items()}
    for title, value in values.items():
        if value.ndim != 2:
            raise InputError(f"map '{title}' must be (h, w), not {value.shape}")
    height, width = next(iter(values.values())).shape
    size = image.size if image is not None else (width, height)
    figure, axes = _image_axes(size, len(values) + (image is not None), extra=0.55, columns=columns)
    low, high = limits or (min(v.min() for v in values.values()), max(v.max() for v in values.values()))
    norm = Normalize(low, high if high > low else low + 1)
    titles = (["image"] if image is not None else []) + list(values)
    for axis, title in zip(axes, titles, strict=True):
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        if title in values:
            axis.imshow(values[title], cmap=cmap, norm=norm, extent=extent, interpolation="nearest")
        else:
            axis.imshow(shrink(image), extent=extent)  # pyright: ignore[reportArgumentType]
        axis.set_aspect((size[1] / height) / (size[0] / width) if _aspect(size) == "equal" else "auto")
        axis.set_title(plain(title, 26))
        _mark(axis, (marks or {}).get(title, ()))
    bar = figure.colorbar(
        ScalarMappable(norm, cmap), ax=axes, location="bottom", shrink=0.5, aspect=35, pad=0.02, fraction=0.06
    )
    bar.set_label(plain(label))
    rows = [
        {"map": title, "row": r, "column": c, "value": float(value[r, c])}
        for title, value in values.items()
        for r, c in np.ndindex(value.shape)
    ]
    return Plot(figure, pd.DataFrame(rows))


def _mark(axis: Axes, patches: Sequence[tuple[int, int]]) -> None:
    for row, column in patches:
        axis.plot(column, row, "x", color="white", markersize=9, markeredgewidth=3.0)
        axis.plot(column, row, "x", color="#D55E00", markersize=8, markeredgewidth=1.6)


@styled
def image_figure(panels: Mapping[str, np.ndarray | Image.Image], *, columns: int | None = None) -> Plot:
    """Colour images beside each other, such as the PCA colours of several blocks.

    Args:
        panels: Title -> RGB image, (h, w, 3) of uint8 or of floats in 0..1.
        columns: Panels per row.

    Returns:
        The figure, and a frame (panel, height, width).
    """
    arrays = {title: np.asarray(panel) for title, panel in panels.items()}
    height, width = next(iter(arrays.values())).shape[:2]
    figure, axes = _image_axes((width, height), len(arrays), columns=columns)
    for axis, (title, array) in zip(axes, arrays.items(), strict=True):
        axis.imshow(array, interpolation="nearest")
        axis.set_title(plain(title, 26))
    return Plot(
        figure, pd.DataFrame([(t, *a.shape[:2]) for t, a in arrays.items()], columns=["panel", "height", "width"])
    )
