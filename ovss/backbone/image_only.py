"""A model of which the image tower alone is built: to look at it, to check it, or where no text tower is to be had."""

from typing import Any

import open_clip
import timm
import torch
from open_clip.model import CustomTextCLIP

from ovss.backbone.towers import WANTED
from ovss.errors import InputError, suggest

__all__ = ["build_image_tower"]

_SMALL_TEXT: Any = {"context_length": 32, "vocab_size": 258, "width": 8, "heads": 1, "layers": 1}
_READABLE = ("vision_transformer", "vision_transformer_hybrid", "vitamin", "eva")
"""Modules of timm that make plain vision transformers; what comes out of them is looked at."""


def build_image_tower(name: str, device: str = "cpu") -> Any:
    """A model with the image tower of a configuration, random, and a text tower that is there for form only.

    Args:
        name: A configuration of open_clip.
        device: Where it is built; "meta" takes no memory and has no values.

    Raises:
        InputError: open_clip has no such configuration, or it is known not to be a plain vision transformer.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise InputError(f"model '{name}' is unknown.{suggest(name, open_clip.list_models())}")
    if _is_foreign(config["vision_cfg"]):
        raise InputError(f"model '{name}' is not a plain vision transformer ({tower_kind(name)}); {WANTED}")
    options = {key: config[key] for key in ("quick_gelu", "init_logit_scale", "init_logit_bias") if key in config}
    vision: Any = {
        key: value for key, value in config["vision_cfg"].items() if key != "output_tokens"
    }  # CoCa's decoder's
    with torch.device(device):
        return CustomTextCLIP(config["embed_dim"], vision, _SMALL_TEXT, **options)


def _is_foreign(vision: dict[str, Any]) -> bool:
    if "timm_model_name" in vision:
        return _timm_module(vision["timm_model_name"]) not in _READABLE
    return isinstance(vision.get("layers"), list)


def tower_kind(name: str) -> str:
    """What makes the image tower of a configuration, in words."""
    vision = (open_clip.get_model_config(name) or {})["vision_cfg"]
    return f"timm {_timm_module(vision['timm_model_name'])}" if "timm_model_name" in vision else "ResNet"


def _timm_module(trunk: str) -> str:
    return timm.model_entrypoint(trunk).__module__.rpartition(".")[2]
