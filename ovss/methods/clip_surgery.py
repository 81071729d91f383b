"""CLIP Surgery (Li, Wang, Duan, Li, 2023): values that attend to values, on a path of their own.

Beside the last six blocks runs a second stream that collects attention among values and skips every FFN, since FFNs
pull patches towards the global answer. Optionally, what all queries have in common is removed from the scores.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.ingredients import attend, attend_last
from ovss.methods.base import Method, Paper
from ovss.methods.dual_path import dual_path, dual_path_blocks
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["ClipSurgery"]


@register
@dataclass(frozen=True)
class ClipSurgery(Method):
    """New path: + o(softmax(v v^T / sqrt d) v) of each of the last blocks."""

    name: ClassVar[str] = "clip_surgery"
    paper: ClassVar[Paper] = Paper(
        title="CLIP Surgery for Better Explainability with Enhancement in Open-Vocabulary Tasks",
        authors="Yi Li, Hualiang Wang, Yiqun Duan, Xiaomeng Li",
        venue="arXiv 2023",
        arxiv="2304.05653",
        support="TF-SF",
        layers="the last 6 blocks, of 12 as of 24 (authors' code); half of the blocks where there are fewer than 12",
        deviations=(
            "feature surgery is off by default: it depends on the vocabulary, and later papers compare embeddings",
        ),
    )

    blocks: int | None = parameter(
        None,
        "last blocks beside which the new path runs; None: 6, or half of fewer than 12",
        "authors' code",
        "[1, inf)",
    )
    feature_surgery: bool = parameter(
        False, "remove from the scores what all queries have in common", "paper, feature surgery"
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the last blocks."""
        return frozenset(number - 1 for number in dual_path_blocks(self.name, self.blocks, depth))

    def mix_block(self, tokens: Tokens, block: int, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values of a block, or others, under the attention among its values."""
        if block == tokens.depth:
            return attend_last(tokens, "vv", values)
        return attend(tokens.qkv(block), "vv", values=values)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B T D"]:
        """All tokens at the end of the new path, CLS first."""
        return dual_path(tokens, dual_path_blocks(self.name, self.blocks, tokens.depth), self.mix_block)

    @property
    def compares_words(self) -> bool:
        """Feature surgery removes what all words have in common."""
        return self.feature_surgery

    def patch_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q h w"]:
        """Cosines; with feature surgery weighted by the image's class scores, less their mean over the queries."""
        scores = super().patch_scores(tokens, text)
        if not self.feature_surgery:
            return scores
        share = torch.softmax(2 * self.class_scores(tokens, text), dim=-1)  # (B, Q)
        weights = share / share.mean(dim=-1, keepdim=True)
        weighted = weights[..., None, None] * scores
        return weighted - weighted.mean(dim=1, keepdim=True)
