"""A read-out taken apart: what each of several summands of a state adds to what is read out of their sum.

Linear layers share a sum out exactly. A LayerNorm does once its mean and its variance are taken as what they are for
the whole sum: the mean is linear, so each summand loses its own, and all are divided by the one standard deviation.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovss.errors import InputError


def share_out(
    steps: Iterable[nn.Module | Tensor], parts: Float[Tensor, "P *B D"], name: str
) -> Float[Tensor, "P *B E"]:
    """Each summand behind the steps that its sum goes through; offsets go to the last one.

    Args:
        steps: Modules and matrices, in order.
        parts: Summands of a state.
        name: Of the model, for the error.

    Raises:
        InputError: A step is neither linear nor a LayerNorm.
    """
    for step in steps:
        offset = None
        if isinstance(step, Tensor):
            parts = parts @ step
        elif isinstance(step, nn.Sequential):
            parts = share_out(step, parts, name)
        elif isinstance(step, nn.Linear):
            parts, offset = F.linear(parts, step.weight), step.bias
        elif isinstance(step, nn.LayerNorm) and step.normalized_shape == (parts.shape[-1],):
            variance = parts.sum(0).var(-1, correction=0, keepdim=True)
            parts = (parts - parts.mean(-1, keepdim=True)) * torch.rsqrt(variance + step.eps)
            parts = parts if step.weight is None else parts * step.weight
            offset = step.bias
        elif not isinstance(step, nn.Identity | nn.Dropout):
            raise InputError(
                f"{name} reads tokens out by a {type(step).__name__}, which cannot be shared out among summands"
            )
        if offset is not None:
            parts = torch.cat([parts[:-1], parts[-1:] + offset])
    return parts
