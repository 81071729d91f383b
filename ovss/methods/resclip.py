"""ResCLIP (Yang, Deng, Li, Duan, CVPR 2025), its residual cross-correlation attention.

Query-key attention of the middle blocks still finds patches of the same kind. Its mean is mixed into the attention
that another method uses in the last block.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import attend, gaussian_window, middle_attention
from ovss.methods.base import Method, Paper, check_block, scale_block
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["ResClip"]


@register
@dataclass(frozen=True)
class ResClip(Method):
    """A = tau ((1 - lam) A_last + lam mean of the middle blocks' softmax(q k^T / sqrt d)); no residual, no FFN."""

    name: ClassVar[str] = "resclip"
    paper: ClassVar[Paper] = Paper(
        title="ResCLIP: Residual Attention for Training-free Dense Vision-language Inference",
        authors="Yuhang Yang, Jinhong Deng, Wen Li, Lixin Duan",
        venue="CVPR 2025",
        arxiv="2411.15851",
        layers="last block and blocks 6..9 of 12; at another depth these numbers are scaled",
        deviations=(
            "one setting of tau and lam by default; the authors tune them for each data set, as in protocol `resclip`",
            "semantic feedback refinement, the second module, is left out: it needs a first segmentation of the image",
            "of the attentions the paper builds on NACLIP's is the default; `similarity` and `omega` give others",
        ),
    )

    tau: float = parameter(
        2.0, "factor of the mixed attention; its rows sum to tau", "authors' configuration", "(0, inf)"
    )
    lam: float = parameter(0.4, "share of the middle blocks", "authors' configuration for Context59", "[0, 1]")
    similarity: str = parameter(
        "kk", "attention of the last block", "paper, on top of NACLIP", ("kk", "qq", "vv", "qk")
    )
    omega: bool = parameter(True, "add NACLIP's neighbourhood (sigma 5) to the last block", "paper, on top of NACLIP")
    middle_blocks: tuple[int, ...] | None = parameter(
        None, "blocks whose attention is averaged; None: 6..9 of 12", "paper, implementation details", "[1, inf)"
    )

    def __post_init__(self) -> None:
        """Check the values, and that there is a middle block.

        Raises:
            InputError: A value is outside its domain.
        """
        super().__post_init__()
        if self.middle_blocks == ():
            raise InputError("resclip: middle_blocks=() is empty; use lam=0 for the last block alone")

    def blocks(self, depth: int) -> tuple[int, ...]:
        """Numbers of the middle blocks at a depth.

        Raises:
            InputError: A chosen block does not exist.
        """
        chosen = self.middle_blocks or tuple(range(scale_block(6, depth), scale_block(9, depth) + 1))
        return tuple(check_block(self.name, "middle_blocks", block, depth) for block in chosen)

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the middle blocks and of the last one."""
        return frozenset({depth - 1, *(block - 1 for block in self.blocks(depth))})

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the last block's attention and the middle blocks' together."""
        qkv = tokens.qkv(tokens.depth)
        v = qkv[2] if values is None else values
        window = gaussian_window(tokens.grid, 5.0, qkv[0].device) if self.omega else None
        middle = middle_attention(tokens, self.blocks(tokens.depth))  # (B, heads, T, T)
        last = attend(qkv, self.similarity, bias=window, values=v)
        return self.tau * torch.lerp(last, middle.to(last.dtype) @ v, self.lam)
