"""One transformer block of the image tower, taken apart into the steps that methods change."""

from abc import ABC, abstractmethod
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ovss.errors import InputError

__all__ = ["QKV", "Block"]

QKV = tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]
"""Queries, keys and values."""
_NEURONS = "single neurons can be read and changed in open_clip's own ViT only, not in this image tower"


class Block(ABC):
    """One transformer block of the image tower: `y = x + merge(attention(qkv(x)))`, then `y + ffn(y)`.

    Args:
        module: The block of open_clip or timm.
        grid: Patch rows and columns (h, w) of the tokens; the last h * w rows of what it is given are patches.
    """

    def __init__(self, module: nn.Module, grid: tuple[int, int]) -> None:
        self.module: Any = module
        self.grid = grid
        self.heads: int = self.module.attn.num_heads

    def forward(self, x: Float[Tensor, "B T D"], qkv: QKV | None = None) -> Float[Tensor, "B T D"]:
        """The whole block: attention and FFN, each with its residual.

        Args:
            x: Residual stream in front of this block.
            qkv: `qkv(x)` where it is there already.
        """
        x = x + self.attend(x, qkv)
        return x + self.ffn(x)

    @abstractmethod
    def norm(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The normalisation in front of the attention; a block that normalises afterwards has none here."""

    @abstractmethod
    def qkv(self, x: Float[Tensor, "B T D"]) -> QKV:
        """Queries, keys and values of `x` per head, after their norms and rotated where the model rotates them.

        Args:
            x: Residual stream in front of this block; with or without the prefix tokens.
        """

    def kv(self, x: Float[Tensor, "B T D"]) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Keys and values of `x`, where nobody asks for queries."""
        _, k, v = self.qkv(x)
        return k, v

    def value(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T d"]:
        """Values of `x` alone, for methods that need neither queries nor keys of `x`."""
        return self.qkv(x)[2]

    def attend(self, x: Float[Tensor, "B T D"], qkv: QKV | None = None) -> Float[Tensor, "B T D"]:
        """Attention of the block as it was trained, without the residual; see `forward`."""
        return self.merge(F.scaled_dot_product_attention(*(qkv or self.qkv(x))))

    def neurons(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T F"]:
        """Activations within the feed-forward network of `x`.

        Raises:
            InputError: The block belongs to another family than open_clip's own ViT.
        """
        raise InputError(_NEURONS)

    def project_neurons(self, fired: Float[Tensor, "B T F"]) -> Float[Tensor, "B T D"]:
        """The rest of the feed-forward network, from its activations on; no residual.

        Raises:
            InputError: As `neurons`.
        """
        raise InputError(_NEURONS)

    @abstractmethod
    def merge(self, y: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
        """Join the heads and project, with all that the block does before the sum: norms, layer scale; no residual."""

    @abstractmethod
    def ffn(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Feed-forward network of `x` with its norm and layer scale; no residual."""


def join_heads(y: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
    """Heads side by side."""
    return y.transpose(1, 2).flatten(2)


def split_heads(x: Float[Tensor, "B T D"], heads: int) -> Float[Tensor, "B H T d"]:
    """The reverse of `join_heads`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
