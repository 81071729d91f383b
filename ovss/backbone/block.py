"""One transformer block of the vision tower, taken apart into the steps that methods change."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovss.backbone.folding import run_mlp

_QKV = tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]


class Block:
    """One transformer block of the vision tower, taken apart.

    Args:
        module: open_clip's residual attention block.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self.heads: int = self.module.attn.num_heads

    def forward(self, x: Float[Tensor, "B T D"], qkv: _QKV | None = None) -> Float[Tensor, "B T D"]:
        """The whole block: attention and FFN, each with its residual.

        Args:
            x: Residual stream in front of this block.
            qkv: `qkv(x)` where it is there already.
        """
        x = x + self.merge(F.scaled_dot_product_attention(*(qkv or self.qkv(x))))
        return x + self.ffn(x)

    def norm(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """`ln_1`, the normalisation in front of the attention."""
        return self.module.ln_1(x)

    def qkv(self, x: Float[Tensor, "B T D"]) -> _QKV:
        """Queries, keys and values of `ln_1(x)`, per head.

        Args:
            x: Residual stream in front of this block; any number of tokens, with or without CLS.
        """
        q, k, v = self._project(x, 0)
        return q, k, v

    def kv(self, x: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Keys and values of `ln_1(x)`, where nobody asks for queries."""
        k, v = self._project(x, 1)
        return k, v

    def value(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T d"]:
        """Values of `ln_1(x)` alone."""
        return self._project(x, 2)[0]

    def _project(self, x: Float[Tensor, "B T D"], first: int) -> tuple[Tensor, ...]:
        """Queries, keys and values from number `first` on."""
        attention, rows = self.module.attn, slice(first * x.shape[-1], None)
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
        mixed = F.linear(self.norm(x), attention.in_proj_weight[rows], bias)  # (B, T, parts * D)
        mixed = mixed.unflatten(-1, (3 - first, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (parts, B, heads, T, d)
        return mixed.unbind(0)

    def merge(self, y: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
        """Join the heads and apply `out_proj` (and the layer scale of models that have one); no residual."""
        return self.module.ls_1(self.module.attn.out_proj(y.transpose(1, 2).flatten(2)))

    def ffn(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Feed-forward network of `ln_2(x)` (and layer scale); no residual."""
        return self.module.ls_2(run_mlp(self.module.mlp, self.module.ln_2(x)))
