"""ResCLIP (Yang, Deng, Li, Duan, CVPR 2025): residual cross-correlation attention and semantic feedback refinement.

Query-key attention of the middle blocks still finds patches of the same kind. Its mean is mixed into the attention
that another method uses in the last block. Where feedback is on, the labels that this gives each window change the
logits of the last block, and the window is scored once more.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import attend, attend_last, attend_middle, feedback_attention, first_labels, gaussian_window
from ovss.methods.base import Method, Paper, check_block, cosine_scores, finish_block, middle_blocks, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["ResClip"]

_SIGMA = 5.0
"""Patches, of NACLIP's neighbourhood and of the smoothed feedback (authors' code)."""


@register
@dataclass(frozen=True)
class ResClip(Method):
    """A = tau ((1 - lam) A_last + lam mean of the middle blocks' softmax(q k^T / sqrt d)); no residual, no FFN.

    With feedback, the logits l of A_last become sfr_tau ((1 - sfr_lam) l + sfr_lam S), S from `feedback_attention`.
    """

    name: ClassVar[str] = "resclip"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="ResCLIP: Residual Attention for Training-free Dense Vision-language Inference",
        authors="Yuhang Yang, Jinhong Deng, Wen Li, Lixin Duan",
        venue="CVPR 2025",
        arxiv="2411.15851",
        support="TF-SF",
        layers="last block and blocks 6..9 of 12; at another depth these numbers are scaled",
        deviations=(
            "one setting of tau and lam by default; the authors tune them for each data set, as in protocol `resclip`",
            "semantic feedback refinement, the second module, is off by default: it is tuned for each data set, too, "
            "and scores every window twice; protocol `resclip` has it",
            "paths between patches are checked as in the authors' code, the first d of D parts of the way alone, D the "
            "longest distance of the grid; the authors' code rounds S to half precision",
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
    sfr_lam: float = parameter(0.0, "share of the feedback; 0: without it", "authors' configuration", "[0, 1]")
    sfr_tau: float = parameter(1.8, "factor of logits and feedback", "authors' configuration for Context59", "(0, inf)")
    sfr_threshold: float = parameter(
        0.25, "probability below which the first label is query 0", "authors' configuration for Context59", "[0, 1]"
    )
    sfr_scale: float = parameter(
        40.0, "factor of the cosines in the first segmentation", "authors' configuration", "(0, inf)"
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
        chosen = self.middle_blocks or middle_blocks(depth)
        return tuple(check_block(self.name, "middle_blocks", block, depth) for block in chosen)

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the middle blocks and of the last one."""
        return frozenset({depth - 1, *(block - 1 for block in self.blocks(depth))})

    def mix(
        self, tokens: Tokens, values: Tensor | None = None, feedback: Float[Tensor, "B T T"] | None = None
    ) -> Float[Tensor, "B H T d"]:
        """Values under the last block's attention and the middle blocks' together, after feedback where it is given."""
        qkv = tokens.qkv(tokens.depth)
        middle = attend_middle(tokens, self.blocks(tokens.depth), qkv[2] if values is None else values)
        if feedback is None:
            last = attend_last(tokens, self.similarity, values, _SIGMA if self.omega else None)
        else:
            bias = self.sfr_tau * self.sfr_lam * feedback[:, None]
            if self.omega:
                bias = bias + gaussian_window(tokens.grid, _SIGMA, qkv[0].device, tokens.prefix)
            factor = self.sfr_tau * (1 - self.sfr_lam)
            last = attend(qkv, self.similarity, bias=bias, values=values, factor=factor)
        return self.tau * torch.lerp(last, middle, self.lam)

    @property
    def mixes_once(self) -> bool:
        """The second round is a mix, too."""
        return True

    @property
    def compares_words(self) -> bool:
        """The first segmentation gives each patch the best of all words."""
        return self.sfr_lam > 0

    def window_scores(
        self, tokens: Tokens, text: Float[Tensor, "Q E"], windows: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B Q h w"]:
        """Cosines, those after feedback where it is on."""
        scores = self.patch_scores(tokens, text)
        if not self.sfr_lam:
            return scores
        patch = tokens.backbone.patch_size
        labels = first_labels(scores, windows.to(scores.device), patch, self.sfr_scale, self.sfr_threshold)
        mixed = self.mix(tokens, feedback=feedback_attention(labels, _SIGMA, tokens.prefix))
        patches = tokens.read_out(finish_block(tokens, mixed, *self.residual_and_ffn)[:, tokens.prefix :])
        return cosine_scores(tokens, unit(patches), text)
