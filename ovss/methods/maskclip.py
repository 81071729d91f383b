"""MaskCLIP (Zhou, Loy, Dai, ECCV 2022): values alone.

Attention carries what the whole image says into every patch; leaving it out of the last block keeps what the patch
says itself.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["MaskClip"]


@register
@dataclass(frozen=True)
class MaskClip(Method):
    """Attention of the last block replaced by the identity; no residual, no FFN."""

    name: ClassVar[str] = "maskclip"
    paper: ClassVar[Paper] = Paper(
        title="Extract Free Dense Labels from CLIP",
        authors="Chong Zhou, Chen Change Loy, Bo Dai",
        venue="ECCV 2022",
        arxiv="2112.01071",
        support="TF-SF",
        deviations=(
            "key smoothing and prompt denoising are left out: both act on the scores and are not part of the "
            "embedding that later papers compare with",
        ),
    )

    residual: bool = parameter(False, "add the block's input to the attention output", "paper, method section")
    ffn: bool = parameter(False, "apply the last FFN with its residual", "paper, method section")

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values as they are: each token looks at itself alone."""
        return tokens.qkv(tokens.depth)[2] if values is None else values
