"""A feed-forward network with QuickGELU, its factor 1.702 folded into the two matrix products around it.

QuickGELU(x) = x sigmoid(1.702 x) = SiLU(1.702 x) / 1.702. A matrix product takes a factor for nothing and SiLU is one
pass over the hidden layer where QuickGELU is three. No weight is changed or copied.
"""

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor

_FACTOR = 1.702


def run_mlp(mlp: Any, x: Tensor) -> Tensor:
    """Output of a block's feed-forward network.

    Args:
        mlp: open_clip's: linear layer `c_fc`, activation `gelu`, linear layer `c_proj`.
        x: (..., D).
    """
    if not isinstance(getattr(mlp, "gelu", None), QuickGELU):
        return mlp(x)
    hidden = _linear(mlp.c_fc, x.flatten(0, -2), _FACTOR, _FACTOR)
    hidden = F.silu(hidden, inplace=not hidden.requires_grad)
    return _linear(mlp.c_proj, hidden, 1 / _FACTOR, 1).unflatten(0, x.shape[:-1])


def _linear(layer: Any, x: Tensor, factor: float, bias_factor: float) -> Tensor:
    return torch.addmm(layer.bias, x, layer.weight.T, alpha=factor, beta=bias_factor)
