"""What is known of a model before it is loaded: whether and how it can be read, its sizes, its weights."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import open_clip

from ovss import tiny
from ovss.backbone.image_only import build_image_tower, tower_kind
from ovss.backbone.names import RANDOM, register_tiny, resolve_name
from ovss.backbone.preparation import own_resize_filter, usual_settings
from ovss.backbone.tokenizers import text_settings
from ovss.backbone.towers import WANTED, find_tower
from ovss.errors import InputError, suggest

__all__ = ["ModelFacts", "describe_model", "list_models", "measure_model", "missing_weights", "training_data"]

_TABLE = Path(__file__).with_name("models.csv")
_WEIGHTS = Path(__file__).with_name("weights.csv")


@dataclass(frozen=True)
class ModelFacts:
    """A configuration of open_clip, as far as it is known without weights.

    Attributes:
        name: Its name in open_clip.
        refused: Why it cannot be read, in a few words; empty where it is taken.
        family: The adapter that reads it: "open_clip ViT", "timm ViT", "timm Eva"; else the kind of tower.
        patch_size: Side of a patch in pixels; 0 where it is not taken, as are the numbers below.
        native_size: Height and width of its images in pixels.
        image_size: Shorter side of the native patch grid in pixels.
        depth: Number of blocks.
        parameters: Of the image tower.
        pooling: What the image embedding is read from: "class token", "attention" or "average".
        class_token: Whether there is a class token among its tokens.
        tokenizer: Repository of the hub whose tokenizer (and where it says so text tower) it needs; empty where
            open_clip brings it along.
        tags: Names of its published weights.
        interpolation: Of the transform of the first of them; None where nothing is said.
    """

    name: str
    refused: str
    family: str
    patch_size: int
    native_size: tuple[int, int]
    image_size: int
    depth: int
    parameters: int
    pooling: str
    class_token: bool
    tokenizer: str
    tags: tuple[str, ...]
    interpolation: str | None

    @property
    def taken(self) -> bool:
        """Whether the model can be read."""
        return not self.refused

    @property
    def resize_filter(self) -> str:
        """Filter of that transform; see `Backbone.resize_filter`."""
        return own_resize_filter(self.interpolation, self.name)


def list_models() -> list[ModelFacts]:
    """All configurations that open_clip knows, in its order; nothing is built for those in the shipped table."""
    return [describe_model(name) for name in open_clip.list_models() if name != tiny.ARCHITECTURE]


@cache
def describe_model(model: str) -> ModelFacts:
    """What is known of a configuration without its weights.

    Args:
        model: "tiny" or a configuration of open_clip, one registered with `open_clip.add_model_config` included.

    Raises:
        InputError: open_clip has no such configuration.
    """
    name, _ = resolve_name(model)
    name = register_tiny() if name == "tiny" else name
    row = _shipped().get(name)
    if row is None:
        return measure_model(name)
    height, width = int(row["height"]), int(row["width"])
    patch = int(row["patch"])
    return ModelFacts(
        name=name,
        refused=row["refused"],
        family=row["family"],
        patch_size=patch,
        native_size=(height, width),
        image_size=min(height, width) // patch * patch if patch else 0,
        depth=int(row["depth"]),
        parameters=int(row["parameters"]),
        pooling=row["pooling"],
        class_token=row["class_token"] == "yes",
        **_text_and_tags(name),
    )


def measure_model(name: str) -> ModelFacts:
    """The same, from the image tower built without memory for its weights.

    Args:
        name: A configuration of open_clip.

    Raises:
        InputError: open_clip has no such configuration.
    """
    rest = _text_and_tags(name)
    try:
        tower = find_tower(build_image_tower(name, device="meta").visual, name)
    except InputError as error:
        reason = str(error).removeprefix(f"model '{name}' ").removesuffix(f"; {WANTED}")
        return ModelFacts(name, reason, tower_kind(name), 0, (0, 0), 0, 0, 0, "", False, **rest)
    return ModelFacts(
        name=name,
        refused="",
        family=tower.family,
        patch_size=tower.patch_size,
        native_size=tower.native_size,
        image_size=min(tower.native_grid) * tower.patch_size,
        depth=len(tower.modules),
        parameters=sum(weights.numel() for weights in tower.visual.parameters()),
        pooling=tower.pooling,
        class_token=tower.class_token,
        **rest,
    )


def _text_and_tags(name: str) -> dict[str, Any]:
    text = text_settings(name)
    hub = text.get("hf_model_name") or text.get("hf_tokenizer_name") or ""
    tokenizer = f"{hub} (tokenizer and text tower)" if "hf_model_name" in text else hub
    tags = open_clip.list_pretrained_tags_by_model(name)
    interpolation = usual_settings(name).get("interpolation")
    return {"tokenizer": tokenizer, "tags": tuple(tags), "interpolation": interpolation}


@cache
def _shipped() -> dict[str, dict[str, str]]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def training_data(model: str, pretrained: str) -> str:
    """What weights were trained on; empty where it is not known.

    Args:
        model: "tiny" or a configuration of open_clip.
        pretrained: A tag, "TAG=FILE", or "shipped" for the embedded model.
    """
    if model == "tiny" and pretrained in ("", "shipped"):
        return "drawn scenes"
    wanted = model.removesuffix("-quickgelu"), pretrained.partition("=")[0]
    with _WEIGHTS.open(encoding="utf-8", newline="") as file:
        return next((row["data"] for row in csv.DictReader(file) if (row["model"], row["tag"]) == wanted), "")


def missing_weights(model: str, pretrained: str) -> str:
    """Why the weights of a model are not on this machine; empty where they are.

    Args:
        model: As in `ovss.load_backbone`.
        pretrained: Tag, file or "TAG=FILE"; empty for the embedded model.
    """
    model, weights = resolve_name(model, pretrained or None)
    pretrained = weights or ""
    if pretrained == RANDOM or (model == "tiny" and not pretrained):
        return ""
    tag, _, path = pretrained.partition("=")
    path = path or (tag if Path(tag).suffix else "")
    if path:
        return "" if Path(path).is_file() else f"file '{path}' does not exist"
    settings = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if not settings:
        return f"open_clip has no such tag.{suggest(tag, open_clip.list_pretrained_tags_by_model(model))}"
    return "" if _is_cached(settings) else "would be downloaded"


def _is_cached(settings: dict[str, Any]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    url, hub = settings.get("url", ""), settings.get("hf_hub", "").strip("/")
    if url and (Path.home() / ".cache" / "clip" / Path(url).name).is_file():
        return True
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return bool(hub) and any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)
