"""Weights: from a name, a tag or a file to an open_clip model, through open_clip's public functions."""

import logging
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ovss import tiny
from ovss.errors import InputError, suggest

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}


class Loaded(NamedTuple):
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


def resolve_device(device: str) -> torch.device:
    """A torch device from "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        InputError: The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{device}' cannot be used: {str(error).splitlines()[0]}") from error
    return target


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """A number format from its name; "auto" is float16 on CUDA and float32 elsewhere.

    Raises:
        InputError: The name is none of "auto", "float32", "float16", "bfloat16".
    """
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise InputError(f"dtype '{dtype}' is unknown.{suggest(dtype, ['auto', *DTYPES])}")
    return DTYPES[dtype]


def load_model(name: str, pretrained: str | None, check: Callable[[Any, str], None]) -> Loaded:
    """Create a model and fill it with weights; see `ovss.load_backbone` for the arguments.

    Args:
        name: Architecture, "tiny" or "hf-hub:...".
        pretrained: Tag, file, "TAG=FILE" or None.
        check: Called with the empty model and its name before weights are fetched; raises for models that cannot be
            used.
    """
    if name.startswith("hf-hub:"):
        return _load_from_hub(name, pretrained, check)
    tiny.register()
    architecture = tiny.ARCHITECTURE if name == "tiny" else name.replace("/", "-")
    if name == "tiny" and pretrained is None:
        source = _Source("shipped", {}, tiny.WEIGHTS)
    else:
        if architecture not in open_clip.list_models():
            raise InputError(f"model '{name}' is unknown.{suggest(name, ['tiny', *open_clip.list_models()])}")
        source = _find_source(architecture, pretrained)
    architecture, quick_gelu = _activation(architecture, source)
    model = _create(architecture, quick_gelu)
    check(model, name)
    file = source.file
    if file is None and source.settings:
        file = _download(name, source)
    if file is not None:
        _fill(model, name, file)
    else:
        warnings.warn(
            f"{name} has random weights: give pretrained a tag or a checkpoint file",
            UserWarning,
            stacklevel=3,
        )
    tokenizer = open_clip.get_tokenizer(architecture)
    mean = tuple(source.settings.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    std = tuple(source.settings.get("std") or open_clip.OPENAI_DATASET_STD)
    return Loaded(model, tokenizer, source.label, mean, std)


def _create(architecture: str, quick_gelu: bool | None) -> nn.Module:
    options: dict[str, Any] = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    # open_clip warns on the root logger that weights are random; they are filled in afterwards, by us.
    level = logging.root.level
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logging.root.setLevel(logging.ERROR)
        try:
            return open_clip.create_model(architecture, pretrained=None, **options)
        finally:
            logging.root.setLevel(level)


def _find_source(architecture: str, pretrained: str | None) -> _Source:
    if pretrained is None:
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
    """QuickGELU as the weights were trained with: known for a tag, marked in OpenAI's own files, else the
    architecture's."""
    if source.settings:
        return architecture.removesuffix("-quickgelu"), bool(source.settings.get("quick_gelu", False))
    if source.file is not None and set(_names(source.file)) >= OPENAI_EXTRAS:
        return architecture, True
    return architecture, None


def _names(file: Path) -> list[str]:
    if file.suffix != ".safetensors":
        return list(read_checkpoint(file, keep_extras=True))
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except SafetensorError as error:
        raise InputError(f"checkpoint file '{file}' is no safetensors file: {error}") from error


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


def _load_from_hub(name: str, pretrained: str | None, check: Callable[[Any, str], None]) -> Loaded:
    if pretrained is not None:
        raise InputError(f"'{name}' brings its own weights; leave out pretrained='{pretrained}'")
    try:
        model: Any = open_clip.create_model(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"'{name}' cannot be loaded from the hub ({reason[:160]})") from error
    check(model, name)
    settings = getattr(model.visual, "preprocess_cfg", {})
    mean = tuple(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    return Loaded(model, tokenizer, name, mean, tuple(settings.get("std") or open_clip.OPENAI_DATASET_STD))


def read_checkpoint(file: Path, keep_extras: bool = False) -> dict[str, Tensor]:
    """State dict of a checkpoint file, in open_clip's naming (which is OpenAI's), without running any code from it.

    Reads .safetensors, and .pt or .pth files that hold tensors only, plain or under "state_dict", with or without the
    prefix
    "module." of distributed training.

    Args:
        file: The checkpoint.
        keep_extras: Keep OpenAI's three entries that are no weights.

    Raises:
        InputError: The file is truncated, of another kind, or holds objects other than tensors.
    """
    if file.suffix == ".safetensors":
        tensors = {}
        try:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - a safetensors handle is no dictionary
                    tensors[key] = opened.get_tensor(key)
        except SafetensorError as error:
            raise InputError(f"checkpoint file '{file}' is no safetensors file: {error}") from error
    else:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise InputError(
                f"checkpoint file '{file}' is no weights-only checkpoint ({str(error).splitlines()[0][:100]}); save "
                "its state_dict() as .safetensors"
            ) from error
        tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {key.removeprefix("module."): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"checkpoint file '{file}' holds no tensors")
    return tensors if keep_extras else {key: value for key, value in tensors.items() if key not in OPENAI_EXTRAS}


def _fill(model: nn.Module, name: str, file: Path) -> None:
    state = read_checkpoint(file)
    expected = model.state_dict()
    if "logit_scale" in state and "logit_scale" in expected:
        state["logit_scale"] = state["logit_scale"].reshape(expected["logit_scale"].shape)
    optional = {key for key in expected if key.endswith("attn_mask")}
    missing = sorted(set(expected) - set(state) - optional)
    foreign = sorted(set(state) - set(expected) - {"attn_mask"})
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(set(expected) & set(state))
        if state[key].shape != expected[key].shape
    ]
    parts = [
        f"{len(found)} {what} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
        for what, found in (
            ("keys missing", missing),
            ("keys unexpected", foreign),
            ("shapes differ", shapes),
        )
        if found
    ]
    if parts:
        raise InputError(f"checkpoint file '{file}' does not fit {name}: {'; '.join(parts)}")
    model.load_state_dict({key: value for key, value in state.items() if key in expected})
