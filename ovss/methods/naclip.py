"""NACLIP (Hajimiri, Ben Ayed, Dolz, WACV 2025): attention that prefers neighbours.

In the last block keys meet keys, so that a patch looks at patches like itself, and a Gaussian over the patch
distance is added to the logits, so that among those it looks at near ones.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import attend_last, attend_neighbours, neighbourhood
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["NaClip"]


@register
@dataclass(frozen=True)
class NaClip(Method):
    """A = softmax(k k^T / sqrt d + Omega) in the last block; no residual, no FFN."""

    name: ClassVar[str] = "naclip"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
        authors="Sina Hajimiri, Ismail Ben Ayed, Jose Dolz",
        venue="WACV 2025",
        arxiv="2404.08181",
        support="TF-SF",
        deviations=(
            "PAMR belongs to the protocol (naclip+pamr), so that every method can be measured with and without it",
            "a grid of the native number of patches but another shape gets a resized position embedding; the "
            "authors' code keeps the native table there, which scrambles rows and columns",
        ),
    )

    sigma: float = parameter(
        5.0, "standard deviation of the neighbourhood, in patches", "paper, implementation details", "(0, inf)"
    )
    similarity: str = parameter(
        "kk",
        "which projections are compared; 'none' leaves the neighbourhood alone",
        "paper, ablation",
        ("kk", "qq", "qk", "none"),
    )
    omega: bool = parameter(True, "add the Gaussian neighbourhood to the logits", "paper, ablation")
    arch: str = parameter(
        "reduced", "'reduced' drops residual and FFN, 'vanilla' keeps both", "paper, ablation", ("reduced", "vanilla")
    )

    def __post_init__(self) -> None:
        """Check the values, and that some attention is left.

        Raises:
            InputError: A value is outside its domain, or neither similarity nor neighbourhood is used.
        """
        super().__post_init__()
        if self.similarity == "none" and not self.omega:
            raise InputError("naclip: similarity='none' needs omega=True, or no attention is left")

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the attention that prefers neighbours."""
        if self.similarity == "none":
            return attend_neighbours(tokens.qkv(tokens.depth), neighbourhood(tokens, self.sigma), values)
        return attend_last(tokens, self.similarity, values, self.sigma if self.omega else None)

    @property
    def residual_and_ffn(self) -> tuple[bool, bool]:
        """Neither in the reduced last block, both in the vanilla one."""
        return self.arch == "vanilla", self.arch == "vanilla"
