"""Figures of segmentations, measurements and results; nothing is measured here.

Every function draws on a figure of its own with seaborn or matplotlib's object interface, leaves no global state behind
and returns a `Plot`: the figure and the frame it shows. `segmentation_figure` alone returns just the figure.

Words of this room
    plot: a figure and the frame whose numbers it shows.
    panel: one image of a figure, with its title.
    marks: patches (row, column) that are crossed out on a panel.
"""

from ovss.figures.atlas import atlas_figure, exchange_figure
from ovss.figures.curves import curve_figure, layer_figure
from ovss.figures.images import image_figure, label_figure, map_figure, segmentation_figure
from ovss.figures.intervals import bar_figure, dumbbell_figure, interval_figure, link_figure
from ovss.figures.matrices import heads_figure, matrix_figure
from ovss.figures.stages import stage_figure
from ovss.figures.style import Plot, save_figure
from ovss.figures.waterfall import waterfall_figure

__all__ = [
    "Plot",
    "atlas_figure",
    "bar_figure",
    "curve_figure",
    "dumbbell_figure",
    "exchange_figure",
    "heads_figure",
    "image_figure",
    "interval_figure",
    "label_figure",
    "layer_figure",
    "link_figure",
    "map_figure",
    "matrix_figure",
    "save_figure",
    "segmentation_figure",
    "stage_figure",
    "waterfall_figure",
]
