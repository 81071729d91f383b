"""ClearCLIP (Lan et al., ECCV 2024): the last block without its residual.

The residual carries large channels that say the same everywhere and drown what attention adds. Dropping it and the
FFN, with attention among queries, leaves a clean map.
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

__all__ = ["ClearClip"]


@register
@dataclass(frozen=True)
class ClearClip(Method):
    """A = softmax(q q^T / sqrt d) in the last block; no residual, no FFN."""

    name: ClassVar[str] = "clearclip"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference",
        authors="Mengcheng Lan, Chaofeng Chen, Yiping Ke, Xinjiang Wang, Litong Feng, Wayne Zhang",
        venue="ECCV 2024",
        arxiv="2407.12442",
        support="TF-SF",
    )

    residual: bool = parameter(False, "add the block's input to the attention output", "paper, method section")
    ffn: bool = parameter(False, "apply the last FFN with its residual", "paper, method section")

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the attention among queries."""
        return attend_last(tokens, "qq", values)
