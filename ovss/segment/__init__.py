"""From an image to its label map.

Words used here:
    window: Part of the resized image that goes through the backbone at once; windows may overlap.
    query: A word given to the text tower; a class has one or more.
    score: Cosine of a patch, or a pixel, with a query.
    score map: Scores of an image's windows, stitched when labels or probabilities are asked for.
    label map: A class for every pixel, (H, W).
    rule: How scores become labels: scale of the softmax, background, threshold, small classes.
    guide: Image that PAMR follows.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.segment.patch_graph import lposs
    from ovss.segment.propagation import tlp
    from ovss.segment.segmentation import Segmentation, index_mask
    from ovss.segment.segmenter import Segmenter, resolve_protocol

_SUBMODULES = {
    "Segmentation": "segmentation",
    "Segmenter": "segmenter",
    "index_mask": "segmentation",
    "lposs": "patch_graph",
    "resolve_protocol": "segmenter",
    "tlp": "propagation",
}

__all__ = ["Segmentation", "Segmenter", "index_mask", "lposs", "resolve_protocol", "tlp"]


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'ovss.segment' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
