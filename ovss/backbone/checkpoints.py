"""Checkpoint files: read without running code from them, filled into a model, identified by their values."""

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ovss.errors import InputError

OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}


def tensor_names(file: Path) -> list[str]:
    """Names of the tensors in a checkpoint file, OpenAI's extra entries included; `read_checkpoint` for errors."""
    if file.suffix != ".safetensors":
        return list(read_checkpoint(file, keep_extras=True))
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except SafetensorError as error:
        raise InputError(f"checkpoint file '{file}' is not a safetensors file: {error}") from error


def read_checkpoint(file: Path, keep_extras: bool = False) -> dict[str, Tensor]:
    """State dict of a checkpoint file, in open_clip's naming (which is OpenAI's), without running any code from it.

    Reads .safetensors, and .pt or .pth files that hold tensors only, plain or under "state_dict", with or without the
    prefix "module." of distributed training.

    Args:
        file: The checkpoint.
        keep_extras: Keep OpenAI's three entries that are not weights.

    Raises:
        InputError: The file is truncated, of another kind, or holds objects other than tensors.
    """
    if file.suffix == ".safetensors":
        tensors = {}
        try:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118 - a safetensors handle is not a dictionary
                    tensors[key] = opened.get_tensor(key)
        except SafetensorError as error:
            raise InputError(f"checkpoint file '{file}' is not a safetensors file: {error}") from error
    else:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise InputError(
                f"checkpoint file '{file}' is not a weights-only checkpoint ({str(error).splitlines()[0][:100]}); save "
                "its state_dict() as .safetensors"
            ) from error
        tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {key.removeprefix("module."): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"checkpoint file '{file}' holds no tensors")
    return tensors if keep_extras else {key: value for key, value in tensors.items() if key not in OPENAI_EXTRAS}


def fill(model: nn.Module, name: str, file: Path) -> None:
    """Load the weights of a file into a model.

    Args:
        model: The model, changed in place.
        name: Its architecture, for messages.
        file: The checkpoint.

    Raises:
        InputError: The file cannot be read, or its tensors are not those of the model; says which.
    """
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


def hash_weights(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, in sorted order of names."""
    result = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous()
        result.update(f"{name}{tuple(values.shape)}".encode())
        result.update(values.numpy().tobytes())
    return result.hexdigest()
