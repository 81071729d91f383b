"""SFP (Jin et al., ICCV 2025): patches that CLS looks at more than they look at themselves are outliers.

Global outliers collect what the whole image says; they are found in the attention of the block before the last one and
repaired from their neighbours. Similarities of a middle block then smooth what enters the last block, join its
attention, guide a second pass over the sum of the middle blocks, and smooth what leaves it.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import (
    aggregation_weights,
    attend,
    attention_map,
    cls_outliers,
    cosine_map,
    find_anomalies,
    keep_similar,
    repair,
    similarity_attention,
    spread,
)
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import LAYERS, calibration_blocks, cls_weight, cls_weight_parameter, finish_both, fused_kv

__all__ = ["Sfp"]


@register
@dataclass(frozen=True)
class Sfp(Method):
    """Outlier repair, A = (softmax(k k^T) + softmax(q q^T) + similarity attention) / 3, a second pass, aggregation.

    A model without class token is refused unless `w_cls` is 0 and `detector` is not "som".
    """

    name: ClassVar[str] = "sfp"
    applies_mixes: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Feature Purification Matters: Suppressing Outlier Propagation for Training-Free Open-Vocabulary "
        "Semantic Segmentation",
        authors="Shuo Jin, Siyue Yu, Bingfeng Zhang, Mingjie Sun, Yi Dong, Jimin Xiao",
        venue="ICCV 2025",
        arxiv="",
        support="TF-SF",
        layers=f"{LAYERS}; the block before the last one for the outliers",
        deviations=(
            "patches are purified once, in front of the last block, as in the authors' code; the paper: at each layer",
            "attention accumulated over the blocks is left out: the authors' code computes it and never uses it",
            "rows and columns of a grid that is not square are kept apart; the authors' code swaps them",
            "an outlier without a sound neighbour stays as it is; the authors' code makes it zero, and its cosine NaN",
            "a token always attends to itself, which matters only where all tokens of an image coincide",
            "the authors give no blocks for 24 of them; SC-CLIP's are used",
        ),
    )

    w_cls: float | None = cls_weight_parameter()
    beta: float = parameter(0.4, "cosine from which patches count as alike", "authors' code")
    detector: str = parameter(
        "som", "outliers by attention of CLS, norms or SC-CLIP's score", "authors' code", ("som", "norm", "kdist")
    )
    outliers: int = parameter(10, "most outliers of an image, for 'som' and 'norm'", "authors' code", "[1, inf)")
    cls_gain: float | None = parameter(
        None, "factor of the attention of CLS in 'som'; None: 5 w_cls", "authors' code", "[0, inf)"
    )
    repair: bool = parameter(True, "replace outliers by the mean of their neighbours", "paper, ablation")

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: inputs of the last two blocks, blocks p and r, the fused ones; InputError at depth 1."""
        if depth < 2:
            raise InputError("sfp: a model of 1 block has no block before the last one; at least 2 are needed")
        mid, post, fused = calibration_blocks(depth)
        return frozenset({depth - 2, depth - 1, mid, post, *fused})

    @property
    def patches_only(self) -> bool:
        """CLS is dropped before the attention."""
        return True

    def find_outliers(self, tokens: Tokens) -> Bool[Tensor, "B N"]:
        """Patches of each image that are repaired."""
        if self.detector != "som":
            patches = tokens.patches(tokens.depth - 1).float()
            return find_anomalies(patches, self.detector, largest=self.outliers)
        if not tokens.backbone.class_token:
            raise InputError(
                f"sfp finds outliers by what the class token looks at, and {tokens.backbone.name} has none; detector="
                "'norm' or 'kdist' needs none"
            )
        gain = 5 * cls_weight(self.w_cls, tokens.depth) if self.cls_gain is None else self.cls_gain
        return cls_outliers(
            attention_map(tokens.qkv(tokens.depth - 1), "qk").mean(1), gain, self.outliers, tokens.prefix
        )

    def purify(self, tokens: Tokens) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N N"]]:
        """Patches that enter the last block, repaired and aggregated, and their similarities M of at least beta."""
        mid, _, _ = calibration_blocks(tokens.depth)
        x, middle = (tokens.patches(number).float() for number in (tokens.depth - 1, mid))
        if self.repair:
            outliers = self.find_outliers(tokens)
            x, middle = repair(x, outliers, tokens.grid), repair(middle, outliers, tokens.grid)
        similarity = keep_similar(cosine_map(middle), self.beta)
        return aggregation_weights(similarity, self.beta) @ x, similarity

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the three-part attention of the first pass; second pass and aggregation come after it."""
        x, similarity = self.purify(tokens)
        qkv = self._project(tokens, x)
        return self._mix(qkv, similarity_attention(similarity), qkv[2] if values is None else values)

    def _project(self, tokens: Tokens, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        return tokens.block(tokens.depth).qkv(x.to(tokens.backbone.dtype))

    @staticmethod
    def _mix(qkv: tuple[Tensor, Tensor, Tensor], alike: Tensor, v: Tensor) -> Tensor:
        return (attend(qkv, "kk", values=v) + attend(qkv, "qq", values=v) + spread(alike, v)) / 3

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches after both passes and post-aggregation."""
        x, similarity = self.purify(tokens)
        alike = similarity_attention(similarity)
        qkv, (_, values) = self._project(tokens, x), fused_kv(tokens, calibration_blocks(tokens.depth)[2])
        first = self.apply_mix(partial(self._mix, qkv, alike), qkv[2])
        second = self.apply_mix(partial(spread, alike), values)
        return finish_both(self.name, tokens, first, second, self.w_cls, self.beta)
