"""From a name, a tag or a file to a `Backbone`, through open_clip's public functions."""

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from torch import nn

from ovss import tiny
from ovss.backbone.backbone import Backbone
from ovss.backbone.checkpoints import OPENAI_EXTRAS, fill, hash_weights, tensor_names
from ovss.backbone.devices import resolve_device, resolve_dtype
from ovss.backbone.finite import check_weights
from ovss.backbone.image_only import build_image_tower
from ovss.backbone.tokenizers import load_tokenizer
from ovss.backbone.towers import check_vision_tower
from ovss.errors import InputError, suggest

__all__ = ["backbone_from", "register_tiny"]


class _Loaded(NamedTuple):
    """A model with what belongs to its weights."""

    model: nn.Module
    tokenizer: Any
    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class _Source(NamedTuple):
    """Where weights come from, before anything is read."""

    label: str
    settings: dict[str, Any]
    file: Path | None


def load_backbone(
    model: str = "tiny",
    pretrained: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
) -> Backbone:
    """Load a CLIP model.

    Args:
        model: "tiny" (the embedded demonstration model), an open_clip architecture ("ViT-B-16", "ViT-L-14", ...), one
            registered with `open_clip.add_model_config`, or "hf-hub:ORGANISATION/NAME".
        pretrained: An open_clip tag ("openai", "laion2b_s34b_b88k", "metaclip_fullcc", ...), a checkpoint file
            (.safetensors or a weights-only .pt), or "TAG=FILE" for a local file of a tag's weights. QuickGELU and pixel
            statistics follow the tag. "random": random weights. None: the shipped weights of "tiny"; for another
            architecture random weights, with a warning.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (float16 on CUDA, else float32), "float32", "float16" or "bfloat16".
        seed: Seed of random weights.

    Returns:
        The model with its weights, on the device, ready to encode images and texts.

    Example:
        >>> import ovss
        >>> ovss.load_backbone("tiny", device="cpu", dtype="float32")
        Backbone('tiny', pretrained='shipped', 8 blocks, 64 px, patch 8, torch.float32, cpu)

    Raises:
        InputError: Unknown name, missing file, weights that do not fit, hold NaN or infinity, or cannot be downloaded,
            a model whose image tower is not a plain vision transformer.
    """
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    loaded = _load_model(model, pretrained, seed)
    known_hash = None if number_format == torch.float32 else hash_weights(loaded.model.state_dict())
    network = loaded.model.to(target, number_format)
    check_weights(network, loaded.source)
    return Backbone(
        network,
        name=model,
        pretrained=loaded.source,
        tokenizer=loaded.tokenizer,
        mean=loaded.mean,
        std=loaded.std,
        weights_hash=known_hash,
        origin=(model, pretrained),
    )


def backbone_from(named: Backbone | str) -> Backbone:
    """A backbone as it is, or loaded from its name: "tiny", or ARCHITECTURE=WEIGHTS as in "ViT-B-16=openai".

    Raises:
        InputError: As `load_backbone`.
    """
    if isinstance(named, Backbone):
        return named
    model, _, pretrained = named.partition("=")
    return load_backbone(model, pretrained or None)


def register_tiny() -> str:
    """Make the architecture of the embedded model known to open_clip; calling it again changes nothing.

    Returns:
        The name that open_clip knows it by.
    """
    if tiny.ARCHITECTURE not in open_clip.list_models():
        open_clip.add_model_config(tiny.CONFIGS)
    return tiny.ARCHITECTURE


def _load_model(name: str, pretrained: str | None, seed: int) -> _Loaded:
    if name.startswith("hf-hub:"):
        return _load_from_hub(name, pretrained)
    register_tiny()
    architecture = tiny.ARCHITECTURE if name == "tiny" else name.replace("/", "-")
    if name == "tiny" and pretrained is None:
        source = _Source("shipped", {}, tiny.WEIGHTS)
    else:
        if architecture not in open_clip.list_models():
            raise InputError(f"model '{name}' is unknown.{suggest(name, ['tiny', *open_clip.list_models()])}")
        source = _find_source(architecture, pretrained)
    architecture, quick_gelu = _activation(architecture, source)
    model = _create(architecture, quick_gelu, seed, source.label == "random")
    check_vision_tower(model, name)
    file = source.file
    if file is None and source.settings:
        file = _download(name, source)
    if file is not None:
        fill(model, name, file)
    elif pretrained is None:
        warnings.warn(
            f"{name} has random weights: give pretrained a tag or a checkpoint file",
            UserWarning,
            stacklevel=3,
        )
    tokenizer = load_tokenizer(architecture, model, source.label == "random", file)
    settings = source.settings or _usual_settings(architecture)
    mean = tuple(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    std = tuple(settings.get("std") or open_clip.OPENAI_DATASET_STD)
    return _Loaded(model, tokenizer, source.label, mean, std)


def _usual_settings(architecture: str) -> dict[str, Any]:
    """Settings of the first published weights of an architecture: of its family, where weights say nothing."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}


def _create(architecture: str, quick_gelu: bool | None, seed: int, random: bool) -> nn.Module:
    options: dict[str, Any] = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    # open_clip warns on the root logger that weights are random; they are filled in afterwards, by us.
    level = logging.root.level
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        logging.root.setLevel(logging.ERROR)
        try:
            text = (open_clip.get_model_config(architecture) or {}).get("text_cfg", {})
            if "hf_model_name" in text and random:
                return build_image_tower(architecture)
            return open_clip.create_model(architecture, pretrained=None, pretrained_text=False, **options)
        except (ImportError, OSError, RuntimeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
            raise InputError(f"model '{architecture}' cannot be built ({reason})") from error
        finally:
            logging.root.setLevel(level)


def _find_source(architecture: str, pretrained: str | None) -> _Source:
    if pretrained in (None, "random"):
        return _Source("random", {}, None)
    tag, equals, path = pretrained.partition("=")
    base = architecture.removesuffix("-quickgelu")
    settings = open_clip.get_pretrained_cfg(base, tag) or open_clip.get_pretrained_cfg(architecture, tag)
    if equals and settings:
        if not Path(path).is_file():
            raise InputError(f"checkpoint file '{path}' does not exist")
        return _Source(pretrained, settings, Path(path))
    if settings:
        return _Source(tag, settings, None)
    file = Path(pretrained)
    if file.is_file():
        return _Source(file.name, {}, file)
    if file.suffix or len(file.parts) > 1:
        raise InputError(f"checkpoint file '{pretrained}' does not exist")
    tags = open_clip.list_pretrained_tags_by_model(base)
    raise InputError(f"'{pretrained}' is neither a tag of {architecture} nor a file.{suggest(pretrained, tags)}")


def _activation(architecture: str, source: _Source) -> tuple[str, bool | None]:
    """QuickGELU as in training: known for a tag, marked in OpenAI's own files, else as the architecture has it."""
    if source.settings:
        return architecture.removesuffix("-quickgelu"), bool(source.settings.get("quick_gelu", False))
    if source.file is not None and set(tensor_names(source.file)) >= OPENAI_EXTRAS:
        return architecture, True
    return architecture, None


def _download(name: str, source: _Source) -> Path:
    # The hub client reports every retry on its logger; one clear line at the end says more.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return Path(open_clip.download_pretrained(source.settings))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"weights '{source.label}' of {name} cannot be downloaded ({reason[:120]}); fetch them on another machine "
            f"and give the file: pretrained='{source.label}=/path/to/weights.safetensors'"
        ) from error
    finally:
        logger.setLevel(level)


def _load_from_hub(name: str, pretrained: str | None) -> _Loaded:
    if pretrained is not None:
        raise InputError(f"'{name}' brings its own weights; leave out pretrained='{pretrained}'")
    try:
        model: Any = open_clip.create_model(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"'{name}' cannot be loaded from the hub ({reason[:160]})") from error
    check_vision_tower(model, name)
    settings = getattr(model.visual, "preprocess_cfg", {})
    mean = tuple(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    return _Loaded(model, tokenizer, name, mean, tuple(settings.get("std") or open_clip.OPENAI_DATASET_STD))
