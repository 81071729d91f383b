"""Checkpoint files: read without running code from them, filled into a model, identified by their values."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ovss.backbone.torchscript import is_torchscript, read_torchscript
from ovss.errors import InputError, first_line

__all__ = ["hash_weights"]

OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}
"""Entries of OpenAI's own files that are not weights."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the weights, beside the state of the optimiser."""
_TRANSFORMERS = ("vision_model.", "text_model.")
"""Beginnings of names in files of Hugging Face's transformers."""
_UNREADABLE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError, RuntimeError, EOFError, ValueError),
    *(KeyError, TypeError, AttributeError, IndexError),
)
"""What readers raise on bytes that are not theirs."""


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """State dict of a checkpoint file, in open_clip's naming (which is OpenAI's), without running any code from it.

    Reads .safetensors, .pt, .pth or .bin files that hold tensors only, plain or under "state_dict" or "model", with or
    without the prefix "module." of distributed training, and the TorchScript archives that OpenAI publishes.

    Args:
        file: The checkpoint.

    Returns:
        Tensors by name, with the entries of OpenAI's files that are not weights.

    Raises:
        InputError: The file is truncated, of another kind, holds objects other than tensors, or names its tensors as
            another library does.
    """
    safetensors = file.suffix == ".safetensors"
    try:
        if safetensors:
            loaded: Any = load_file(file)
        elif is_torchscript(file):
            loaded = read_torchscript(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        wanted = "a safetensors file" if safetensors else "a weights-only checkpoint"
        advice = "" if safetensors else "; save its state_dict() as .safetensors"
        raise InputError(f"checkpoint file '{file}' is not {wanted} ({first_line(error)}){advice}") from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    entries = loaded.items() if isinstance(loaded, dict) else ()
    tensors = {str(key).removeprefix("module."): value for key, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"checkpoint file '{file}' holds no tensors")
    foreign = next((key for key in tensors if key.startswith(_TRANSFORMERS)), None)
    if foreign is not None:
        raise InputError(
            f"checkpoint file '{file}' names its tensors as transformers does ('{foreign}'); give open_clip's file of "
            "the same weights (open_clip_model.safetensors), or its tag ('ovss list models NAME' shows those)"
        )
    return tensors


def fill(model: nn.Module, name: str, file: Path, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a file into a model.

    Args:
        model: The model, changed in place.
        name: Its architecture, for messages.
        file: The checkpoint, for messages.
        weights: What `read_checkpoint` found in it.

    Raises:
        InputError: The tensors are not those of the model; says which.
    """
    state = {key: value for key, value in weights.items() if key not in OPENAI_EXTRAS and not _is_mask(key)}
    expected = model.state_dict()
    if "logit_scale" in state and "logit_scale" in expected:
        state["logit_scale"] = state["logit_scale"].reshape(expected["logit_scale"].shape)
    missing = sorted(key for key in expected if key not in state and not _is_mask(key))
    foreign = sorted(set(state) - set(expected))
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
    model.load_state_dict(state, strict=False)


def _is_mask(key: str) -> bool:
    """Whether an entry is the text tower's mask, which is made with the model."""
    return key.rpartition(".")[2] == "attn_mask"


def hash_weights(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, in sorted order of names."""
    result = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous()
        result.update(f"{name}{tuple(values.shape)}".encode())
        result.update(values.numpy().tobytes())
    return result.hexdigest()
