"""GEM (Bousselham et al., CVPR 2024): self-self attention as clustering.

Tokens that attend to tokens like themselves move together. Applied to queries, keys and values in turn, with a
temperature that follows the size of the tokens, this gathers the patches of an object on a path of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.methods.base import Method, Paper
from ovss.methods.dual_path import dual_path, dual_path_blocks
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["Gem"]


@register
@dataclass(frozen=True)
class Gem(Method):
    """New path: + o(mean of the iterated self-self attentions of q, k and v, applied to v), last blocks."""

    name: ClassVar[str] = "gem"
    paper: ClassVar[Paper] = Paper(
        title="Grounding Everything: Emerging Localization Properties in Vision-Language Transformers",
        authors="Walid Bousselham, Felix Petersen, Vittorio Ferrari, Hilde Kuehne",
        venue="CVPR 2024",
        arxiv="2312.00878",
        support="TF-SF",
        layers="the last 6 blocks (the authors' depth 7 alters 6); half of the blocks where there are fewer than 12",
        deviations=(
            "the authors run 448 x 448 pixels with antialiased position embedding; both belong to the protocol",
        ),
    )

    blocks: int | None = parameter(
        None,
        "last blocks beside which the new path runs; None: 6, or half of fewer than 12",
        "authors' code",
        "[1, inf)",
    )
    iterations: int = parameter(
        1, "self-self attention steps before the values are collected", "authors' code", "[0, inf)"
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the last blocks."""
        return frozenset(number - 1 for number in dual_path_blocks(self.name, self.blocks, depth))

    def mix_block(self, tokens: Tokens, block: int, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values of a block, or others, mixed by the self-self attention of its queries, keys and values."""
        qkv = tokens.qkv(block)
        v = qkv[2] if values is None else values
        norms = tokens.block(block).norm(tokens.hidden(block - 1)).float().norm(dim=-1)  # (B, 1 + N)
        beta = (norms.mean(-1) * qkv[2].shape[-1] ** -0.5)[:, None, None, None].to(v.dtype)
        mixed = torch.zeros_like(v)
        for part in qkv:
            z = F.normalize(part, dim=-1)
            for _ in range(self.iterations):
                z = F.scaled_dot_product_attention(beta * z, z, z, scale=1.0)
                z = F.normalize(z, dim=-1, out=z)
            mixed += F.scaled_dot_product_attention(beta * z, z, v, scale=1.0)
        return mixed.div_(3)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B T D"]:
        """All tokens at the end of the new path, CLS first."""
        return dual_path(tokens, dual_path_blocks(self.name, self.blocks, tokens.depth), self.mix_block)
