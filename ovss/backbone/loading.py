"""From a name, a tag or a file to a `Backbone`, through open_clip's public functions."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from torch import nn

from ovss import tiny
from ovss.backbone.activation import choose_activation
from ovss.backbone.backbone import Backbone
from ovss.backbone.checkpoints import fill, hash_weights, read_checkpoint
from ovss.backbone.devices import resolve_device, resolve_dtype
from ovss.backbone.finite import check_weights
from ovss.backbone.image_only import build_image_tower
from ovss.backbone.names import RANDOM, near_repository, register_tiny, resolve_name, weights_file
from ovss.backbone.preparation import Preparation, usual_settings
from ovss.backbone.tokenizers import hub_tokenizer, load_tokenizer, text_settings
from ovss.backbone.towers import find_tower
from ovss.errors import InputError, first_line, suggest

__all__ = ["backbone_from"]


class _Loaded(NamedTuple):
    """A model with what belongs to its weights."""

    model: nn.Module
    name: str
    tokenizer: Any
    source: str
    prepared: Preparation


class _Source(NamedTuple):
    """Where weights come from, before anything is read."""

    label: str
    settings: dict[str, Any]
    file: Path | None


def load_backbone(
    model: str = "tiny",
    pretrained: str | None = None,
    *,
    seed: int = 0,
    activation: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Backbone:
    """Load a CLIP model.

    Args:
        model: "tiny" (the embedded demonstration model), an open_clip architecture ("ViT-B-16", "ViT-L-14", ...), one
            registered with `open_clip.add_model_config`, a repository of the hub ("laion/...", "google/siglip2-...",
            "hf-hub:ORGANISATION/NAME"), or "local-dir:FOLDER" with a copy of one.
        pretrained: An open_clip tag ("openai", "laion2b_s34b_b88k", "metaclip_fullcc", ...), a checkpoint file
            (`ovss.backbone.checkpoints.read_checkpoint`), "TAG=FILE" for a local file of a tag's weights, or "random".
            QuickGELU, pixel statistics and interpolation follow the tag. None: the shipped weights of "tiny", or those
            of the repository; an architecture has no weights of its own.
        seed: Seed of random weights.
        activation: "gelu" or "quickgelu", where a checkpoint file without a tag cannot tell.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (float16 on CUDA, else float32), "float32", "float16" or "bfloat16".

    Returns:
        The model with its weights, on the device, ready to encode images and texts.

    Example:
        >>> import ovss
        >>> ovss.load_backbone("tiny", device="cpu", dtype="float32")
        Backbone('tiny', pretrained='shipped', 8 blocks, 64 px, patch 8, torch.float32, cpu)

    Raises:
        InputError: Unknown name, missing file, weights that do not fit the model or the memory of the device, hold NaN
            or infinity, or cannot be downloaded, no weights, an image tower that is not a plain vision transformer.
    """
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    loaded = _load_model(*resolve_name(model, pretrained), seed, activation)
    known_hash = None if number_format == torch.float32 else hash_weights(loaded.model.state_dict())
    network = _moved(loaded, target, number_format)
    check_weights(network, loaded.source)
    return Backbone(
        network,
        name=loaded.name,
        pretrained=loaded.source,
        tokenizer=loaded.tokenizer,
        **loaded.prepared._asdict(),
        weights_hash=known_hash,
        origin={"model": model, "pretrained": pretrained, "seed": seed, "activation": activation},
    )


def _moved(loaded: _Loaded, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model on its device, in its number format."""
    try:
        return loaded.model.to(device, dtype)
    except torch.OutOfMemoryError as error:
        millions = sum(weights.numel() for weights in loaded.model.parameters()) / 1e6
        smaller = "" if dtype.itemsize == 2 else " float16,"
        raise InputError(
            f"the {millions:.0f} million weights of {loaded.name} ({str(dtype).removeprefix('torch.')}) do not fit the "
            f"memory of {device}; try{smaller} another device or a smaller model"
        ) from error


def backbone_from(named: Backbone | str) -> Backbone:
    """A backbone as it is, or loaded from its name: "tiny", or ARCHITECTURE=WEIGHTS as in "ViT-B-16=openai".

    Raises:
        InputError: As `load_backbone`.
    """
    if isinstance(named, Backbone):
        return named
    model, _, pretrained = named.partition("=")
    return load_backbone(model, pretrained or None)


def _load_model(name: str, pretrained: str | None, seed: int, activation: str | None) -> _Loaded:
    if name.startswith(("hf-hub:", "local-dir:")):
        return _load_repository(name, pretrained, activation)
    architecture = register_tiny() if name == "tiny" else name
    shipped = name == "tiny" and pretrained is None
    source = _Source("shipped", {}, tiny.WEIGHTS) if shipped else _find_source(architecture, pretrained)
    file = source.file
    weights = None if file is None else read_checkpoint(file)
    architecture, quick_gelu = choose_activation(architecture, source.settings, file, weights, activation)
    is_random = source.label == RANDOM
    model = _create(architecture, quick_gelu, seed, is_random)
    find_tower(model.visual, name)
    if weights is None and source.settings:
        file = _download(name, source, architecture)
        weights = read_checkpoint(file)
    if file is not None and weights is not None:
        fill(model, name, file, weights)
    tokenizer = load_tokenizer(architecture, model, is_random, file)
    settings = source.settings or usual_settings(architecture)
    return _Loaded(model, name, tokenizer, source.label, Preparation.of(settings))


def _create(architecture: str, quick_gelu: bool | None, seed: int, random: bool) -> nn.Module:
    options: dict[str, Any] = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    # open_clip warns on the root logger that weights are random; they are filled in afterwards, by us.
    level = logging.root.level
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        logging.root.setLevel(logging.ERROR)
        try:
            if "hf_model_name" in text_settings(architecture) and random:
                return build_image_tower(architecture)
            return open_clip.create_model(architecture, pretrained=None, pretrained_text=False, **options)
        except (ImportError, OSError, RuntimeError) as error:
            raise InputError(f"model '{architecture}' cannot be built ({first_line(error)})") from error
        finally:
            logging.root.setLevel(level)


def _find_source(architecture: str, pretrained: str | None) -> _Source:
    if pretrained == RANDOM:
        return _Source(RANDOM, {}, None)
    base = architecture.removesuffix("-quickgelu")
    tags = open_clip.list_pretrained_tags_by_model(base)
    if not pretrained:
        known = f"a tag ({', '.join(tags[:4])}{', ...' if len(tags) > 4 else ''}), " if tags else ""
        raise InputError(
            f"model '{architecture}' needs weights: give pretrained {known}a checkpoint file, or '{RANDOM}' for random "
            "weights, whose labels mean nothing"
        )
    tag, equals, path = pretrained.partition("=")
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
    near = suggest(pretrained, [*tags, RANDOM])
    raise InputError(f"'{pretrained}' is neither a tag of {architecture} nor a file.{near}")


def _download(name: str, source: _Source, architecture: str) -> Path:
    hub = hub_tokenizer(architecture)
    beside = f", beside it tokenizer.json and tokenizer_config.json of {hub}," if hub else ""
    with _hub_is_quiet():
        try:
            return Path(open_clip.download_pretrained(source.settings))
        except Exception as error:
            raise InputError(
                f"weights '{source.label}' of {name} cannot be downloaded ({first_line(error)}); fetch "
                f"{weights_file(source.settings)} on another machine{beside} and give the file: "
                f"pretrained='{source.label}=/path/to/file'"
            ) from error


def _load_repository(name: str, pretrained: str | None, activation: str | None) -> _Loaded:
    if pretrained is not None or activation is not None:
        given = f"activation='{activation}'" if pretrained is None else f"pretrained='{pretrained}'"
        raise InputError(f"'{name}' brings its own weights; leave out {given}")
    with _hub_is_quiet():
        try:
            model: Any = open_clip.create_model(name, require_pretrained=True)
            tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:
            scheme, _, place = name.partition(":")
            advice = (
                f"fetch open_clip_config.json and open_clip_model.safetensors of {place} on another machine and give "
                "their folder: model='local-dir:/path/to/folder'"
                if scheme == "hf-hub"
                else "it must hold open_clip_config.json and open_clip_model.safetensors"
            )
            raise InputError(
                f"'{name}' cannot be loaded ({first_line(error)}); {advice}{near_repository(place)}"
            ) from error
    find_tower(model.visual, name)
    return _Loaded(model, name, tokenizer, name, Preparation.of(getattr(model.visual, "preprocess_cfg", {})))


@contextmanager
def _hub_is_quiet() -> Iterator[None]:
    """Keep the hub client from reporting every retry on its logger; one clear line at the end says more."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
