"""Training-free open-vocabulary semantic segmentation with CLIP: methods, protocols and measurements on one code
path."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovss.app.explorer import explore_attention
    from ovss.backbone import Backbone, Tokens, load_backbone
    from ovss.datasets import load_dataset
    from ovss.errors import InputError
    from ovss.evaluation import Evaluation, evaluate
    from ovss.methods import Method, create_method, list_methods
    from ovss.protocols import Protocol, list_protocols, load_protocol
    from ovss.segment import Segmentation, Segmenter
    from ovss.vocabulary import Vocabulary, load_vocabulary

_SUBMODULES = {
    "ovss.backbone": ("Backbone", "Tokens", "load_backbone"),
    "ovss.datasets": ("load_dataset",),
    "ovss.errors": ("InputError",),
    "ovss.app.explorer": ("explore_attention",),
    "ovss.evaluation": ("Evaluation", "evaluate"),
    "ovss.methods": ("Method", "create_method", "list_methods"),
    "ovss.protocols": ("Protocol", "list_protocols", "load_protocol"),
    "ovss.segment": ("Segmentation", "Segmenter"),
    "ovss.vocabulary": ("Vocabulary", "load_vocabulary"),
}
_SUBMODULE_OF = {name: home for home, names in _SUBMODULES.items() for name in names}

__all__ = [
    "Backbone",
    "Evaluation",
    "InputError",
    "Method",
    "Protocol",
    "Segmentation",
    "Segmenter",
    "Tokens",
    "Vocabulary",
    "create_method",
    "evaluate",
    "explore_attention",
    "list_methods",
    "list_protocols",
    "load_backbone",
    "load_dataset",
    "load_protocol",
    "load_vocabulary",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULE_OF:
        raise AttributeError(f"module 'ovss' has no attribute '{name}'")
    return getattr(import_module(_SUBMODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
