"""Devices and number formats by name, and the one way to a device and back.

Work on a GPU runs behind the processor, which only loses time where it waits: for a value, for a size that depends on
values, or for a copy. What methods and labels need of the processor goes there by `to_device`, which does not wait, and
what is asked of a batch comes back by `to_host`, which waits once.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ovss.errors import InputError, suggest

__all__ = ["constant", "pinned", "tally", "to_device", "to_host"]

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


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor as a copy to the device wants it: CUDA lets the processor go on only from pinned memory."""
    if device.type != "cuda" or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, without waiting for the copy.

    Args:
        tensor: One that nobody changes afterwards.
        device: Where to.
    """
    if tensor.device == device:
        return tensor
    return pinned(tensor, device).to(device, non_blocking=device.type != "mps")


def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Tensors of one device as arrays: one copy, and so one wait, for all of them.

    Args:
        tensors: Any number, of any shapes and number formats that numpy has.

    Example:
        >>> labels, share = to_host([torch.tensor([[1, 2]]), torch.tensor(0.5)])
        >>> labels.tolist(), labels.dtype, float(share)
        ([[1, 2]], dtype('int64'), 0.5)
    """
    if not tensors or tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    # The widest numbers come first, so that each array begins at a multiple of its own width.
    order = sorted(range(len(tensors)), key=lambda number: -tensors[number].element_size())
    flat = [tensors[number].contiguous().flatten().view(torch.uint8) for number in order]
    packed = torch.cat(flat).cpu()
    found: list[np.ndarray] = [np.empty(0)] * len(tensors)
    for number, part in zip(order, packed.split([len(one) for one in flat]), strict=True):
        found[number] = part.view(tensors[number].dtype).view(tensors[number].shape).numpy()
    return found


@lru_cache(maxsize=64)
def constant(
    values: tuple[int | float, ...], device: torch.device, dtype: torch.dtype = torch.int64
) -> Shaped[Tensor, " n"]:
    """Numbers as a tensor on a device, copied there once; who gets it must not change it.

    The number format is part of what is asked for: to a cache, (1, 1) and (1.0, 1.0) are the same.
    """
    with torch.inference_mode(False):  # it is kept, so it must also do where gradients are asked for
        return to_device(torch.tensor(values, dtype=dtype), device)


def tally(index: Int[Tensor, "..."], bins: int) -> Int[Tensor, " bins"]:
    """How often each of 0..bins-1 occurs; `torch.bincount` would wait for a GPU to see the largest.

    Args:
        index: Integers within 0..bins-1.
        bins: How many there are.

    Example:
        >>> tally(torch.tensor([[0, 2], [2, 2]]), 4).tolist()
        [1, 0, 3, 0]
    """
    flat = index.flatten()
    if flat.device.type == "cpu":
        return torch.bincount(flat, minlength=bins)
    return torch.zeros(bins, dtype=torch.int64, device=flat.device).scatter_add_(0, flat, torch.ones_like(flat))
