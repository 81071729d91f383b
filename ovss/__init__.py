"""Training-free open-vocabulary semantic segmentation with CLIP: methods, protocols and measurements on one code
path."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss import ingredients
    from ovss.app.explorer import explore_attention
    from ovss.backbone import Backbone, Tokens, load_backbone
    from ovss.datasets import load_dataset
    from ovss.errors import InputError
    from ovss.evaluation import Evaluation, evaluate
    from ovss.lab import testing
    from ovss.methods import Method, Paper, create_method, list_methods, load_plugin, parameter, register
    from ovss.protocols import Protocol, list_protocols, load_protocol
    from ovss.segment import Segmentation, Segmenter
    from ovss.vocabulary import Vocabulary, load_vocabulary

_SUBMODULES = {
    "ovss.backbone": ("Backbone", "Tokens", "load_backbone"),
    "ovss.datasets": ("load_dataset",),
    "ovss.errors": ("InputError",),
    "ovss.app.explorer": ("explore_attention",),
    "ovss.evaluation": ("Evaluation", "evaluate"),
    "ovss.methods": ("Method", "Paper", "create_method", "list_methods", "load_plugin", "parameter", "register"),
    "ovss.protocols": ("Protocol", "list_protocols", "load_protocol"),
    "ovss.segment": ("Segmentation", "Segmenter"),
    "ovss.vocabulary": ("Vocabulary", "load_vocabulary"),
}
_SUBMODULE_OF = {name: home for home, names in _SUBMODULES.items() for name in names}
_ROOMS = {"ingredients": "ovss.ingredients", "testing": "ovss.lab.testing"}
"""Modules that are read as attributes, too."""


class _Door(ModuleType):
    """A module that is imported under a public name and lies in a room; it is loaded when it is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return getattr(import_module(_ROOMS["testing"]), name)


_door = _Door("ovss.testing", "Property tests for a method of one's own; see `check_method`.")
_door.__spec__, _door.__file__ = ModuleSpec("ovss.testing", None), __file__
sys.modules[_door.__name__] = _door

__all__ = [
    "Backbone",
    "Evaluation",
    "InputError",
    "Method",
    "Paper",
    "Protocol",
    "Segmentation",
    "Segmenter",
    "Tokens",
    "Vocabulary",
    "create_method",
    "evaluate",
    "explore_attention",
    "ingredients",
    "list_methods",
    "list_protocols",
    "load_backbone",
    "load_dataset",
    "load_plugin",
    "load_protocol",
    "load_vocabulary",
    "parameter",
    "register",
    "testing",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module 'ovss' has no attribute '{name}'")
    return getattr(import_module(_SUBMODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
