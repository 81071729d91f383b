"""Devices and number formats by name."""

import torch

from ovss.errors import InputError, suggest

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
    if dtype not in _DTYPES:
        raise InputError(f"dtype '{dtype}' is unknown.{suggest(dtype, ['auto', *_DTYPES])}")
    return _DTYPES[dtype]
