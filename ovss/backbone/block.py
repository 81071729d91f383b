"""One transformer block of the vision tower, taken apart into the steps that methods change."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Block:
    """One transformer block of the vision tower, taken apart.

    Args:
        module: open_clip's residual attention block.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self.heads: int = self.module.attn.num_heads

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The whole block: attention and FFN, each with its residual."""
        return self.module(x)

    def norm(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """`ln_1`, the normalisation in front of the attention."""
        return self.module.ln_1(x)

    def qkv(
        self, x: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Queries, keys and values of `ln_1(x)`, per head.

        Args:
            x: Residual stream in front of this block; any number of tokens, with or without CLS.
        """
        attention = self.module.attn
        mixed = F.linear(self.norm(x), attention.in_proj_weight, attention.in_proj_bias)  # (B, T, 3D)
        mixed = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, T, d)
        q, k, v = mixed.unbind(0)
        return q, k, v

    def key(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T d"]:
        """Keys of `ln_1(x)` alone, at a third of the cost of `qkv`."""
        return self._project(x, 1)

    def value(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T d"]:
        """Values of `ln_1(x)` alone, for methods that need neither queries nor keys of `x`."""
        return self._project(x, 2)

    def _project(self, x: Float[Tensor, "B T D"], part: int) -> Float[Tensor, "B H T d"]:
        attention, width = self.module.attn, x.shape[-1]
        rows = slice(part * width, (part + 1) * width)
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
        projected = F.linear(self.norm(x), attention.in_proj_weight[rows], bias)  # (B, T, D)
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, d)

    def attend(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Attention of the block as it was trained, without the residual."""
        return self.merge(F.scaled_dot_product_attention(*self.qkv(x)))

    def neurons(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T F"]:
        """Activations within the feed-forward network of `ln_2(x)`."""
        return self.module.mlp.gelu(self.module.mlp.c_fc(self.module.ln_2(x)))

    def project_neurons(self, fired: Float[Tensor, "B T F"]) -> Float[Tensor, "B T D"]:
        """The rest of the feed-forward network, from its activations on; no residual."""
        return self.module.ls_2(self.module.mlp.c_proj(fired))

    def merge(self, y: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
        """Join the heads and apply `out_proj` (and the layer scale of models that have one); no residual."""
        return self.module.ls_1(self.module.attn.out_proj(y.transpose(1, 2).flatten(2)))

    def ffn(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Feed-forward network of `ln_2(x)` (and layer scale); no residual."""
        return self.module.ls_2(self.module.mlp(self.module.ln_2(x)))
