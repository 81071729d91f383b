"""What is known of a model before it is loaded: its sizes, and whether its weights are on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from ovss import tiny
from ovss.backbone.loading import register_tiny
from ovss.errors import InputError, suggest

__all__ = ["ModelSizes", "missing_weights", "model_sizes"]


@dataclass
class ModelSizes:
    """Sizes of a vision transformer in pixels, as far as a protocol depends on them."""

    name: str
    image_size: int
    patch_size: int


def model_sizes(model: str) -> ModelSizes:
    """Sizes of an architecture, from open_clip's list.

    Args:
        model: As in `ovss.load_backbone`.

    Raises:
        InputError: It is not a vision transformer of open_clip.
    """
    register_tiny()
    name = tiny.ARCHITECTURE if model == "tiny" else model.replace("/", "-")
    vision = (open_clip.get_model_config(name) or {}).get("vision_cfg", {})
    if not {"patch_size", "image_size"} <= set(vision):
        raise InputError(f"model '{model}' is not a vision transformer of open_clip")
    return ModelSizes(model, vision["image_size"], vision["patch_size"])


def missing_weights(model: str, pretrained: str) -> str:
    """Why the weights of a model are not on this machine; empty where they are.

    Args:
        model: As in `ovss.load_backbone`.
        pretrained: Tag, file or "TAG=FILE"; empty for the embedded model.
    """
    if model == "tiny" and not pretrained:
        return ""
    tag, _, path = pretrained.partition("=")
    path = path or (tag if Path(tag).suffix else "")
    if path:
        return "" if Path(path).is_file() else f"file '{path}' does not exist"
    name = model.replace("/", "-")
    settings = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    if not settings:
        return f"open_clip has no such tag.{suggest(tag, open_clip.list_pretrained_tags_by_model(name))}"
    return "" if _is_cached(settings) else "would be downloaded"


def _is_cached(settings: dict[str, Any]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    url, hub = settings.get("url", ""), settings.get("hf_hub", "").strip("/")
    if url and (Path.home() / ".cache" / "clip" / Path(url).name).is_file():
        return True
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return bool(hub) and any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)
