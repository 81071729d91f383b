"""SCLIP (Wang, Mei, Yuille, ECCV 2024): correlative self-attention.

In the last block a patch attends to patches whose queries, and to patches whose keys, are like its own, instead of
keys that answer its query; the two maps are added.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.ingredients import attend_last
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["Sclip"]


@register
@dataclass(frozen=True)
class Sclip(Method):
    """A = softmax(q q^T / sqrt d) + softmax(k k^T / sqrt d), rows sum to 2; residual and FFN stay."""

    name: ClassVar[str] = "sclip"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference",
        authors="Feng Wang, Jieru Mei, Alan Yuille",
        venue="ECCV 2024",
        arxiv="2312.01597",
        support="TF-SF",
    )

    residual: bool = parameter(True, "add the block's input to the attention output", "authors' code")
    ffn: bool = parameter(True, "apply the last FFN with its residual", "authors' code")

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the sum of the two maps."""
        return attend_last(tokens, "qq", values) + attend_last(tokens, "kk", values)
