"""Pictures of segmentations and of the frames that `ovss.analysis` measures; nothing is measured here.

Every function builds its figure with matplotlib's object interface, leaves no global state behind and returns a `Plot`:
the figure and the frame it shows. `segmentation_figure` alone returns just the figure.
"""

from ovss.figures.measures import bar_figure, heads_figure, layer_figure, link_figure, matrix_figure
from ovss.figures.pictures import image_figure, label_figure, map_figure, segmentation_figure
from ovss.figures.style import Plot, save_figure

__all__ = [
    "Plot",
    "bar_figure",
    "heads_figure",
    "image_figure",
    "label_figure",
    "layer_figure",
    "link_figure",
    "map_figure",
    "matrix_figure",
    "save_figure",
    "segmentation_figure",
]
