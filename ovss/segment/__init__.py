"""From an image to its label map."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.segment.propagation import tlp
    from ovss.segment.segmenter import Segmentation, Segmenter, index_mask, resolve_protocol

_SUBMODULES = {
    "Segmentation": "segmenter",
    "Segmenter": "segmenter",
    "index_mask": "segmenter",
    "resolve_protocol": "segmenter",
    "tlp": "propagation",
}

__all__ = ["Segmentation", "Segmenter", "index_mask", "resolve_protocol", "tlp"]


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'ovss.segment' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_SUBMODULES[name]}"), name)
