"""DIH-CLIP (Duan, Yang, Wang, ICCV 2025): only the least diffuse heads are kept, and each mixes all channels.

Heads whose attention has a low entropy look at few patches and place objects; the others spread what the whole image
says. The frame is SC-CLIP's without repair: similarities of a middle block, sharpened by its own best heads, smooth the
last block before and after and join its attention.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.ingredients import (
    aggregation_weights,
    attention_map,
    cosine_map,
    sharpest_heads,
    similarity_attention,
)
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import LAYERS, added_cls, calibration_blocks, cls_weight_parameter, fuse, post_aggregate

__all__ = ["DihClip"]


@register
@dataclass(frozen=True)
class DihClip(Method):
    """A = sum of (softmax(k k^T) + similarity attention) / 2 over the sharpest heads, by H; two passes; aggregation.

    A model without class token has nothing to add to every patch; it is refused unless `w_cls` is 0.
    """

    name: ClassVar[str] = "dihclip"
    paper: ClassVar[Paper] = Paper(
        title="DIH-CLIP: Unleashing the Diversity of Multi-Head Self-Attention for Training-Free Open-Vocabulary "
        "Semantic Segmentation",
        authors="Songsong Duan, Xi Yang, Nannan Wang",
        venue="ICCV 2025",
        arxiv="",
        layers=LAYERS,
        deviations=(
            "each kept head mixes the values of all heads, as in the authors' code; the sum is divided by the number "
            "of all heads, not of those that are kept",
            "four heads are kept whatever the model has, as in the authors' code; a model of fewer keeps all",
            "of heads of equal entropy the first are kept; the authors' code would keep more than four",
            "every statistic is per image, so batches are allowed; the authors' code runs one image at a time",
            "a token always attends to itself, which matters only where all tokens of an image coincide",
        ),
    )

    heads: int = parameter(4, "heads that are kept, those of lowest entropy", "authors' code", "[1, inf)")
    beta: float = parameter(0.4, "cosine from which patches are aggregated", "authors' code")
    w_cls: float | None = cls_weight_parameter()

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: input of the last block, input and output of block p, block r, the fused blocks."""
        mid, post, fused = calibration_blocks(depth)
        return frozenset({depth - 1, mid - 1, mid, post, *fused})

    @property
    def patches_only(self) -> bool:
        """CLS is dropped before the attention."""
        return True

    def similarity(self, tokens: Tokens) -> Float[Tensor, "B N N"]:
        """Cosines M of the patches of block p, to which its sharpest heads have added what their keys share."""
        mid, _, _ = calibration_blocks(tokens.depth)
        qkv = tokens.qkv(mid)
        chosen = sharpest_heads(attention_map(qkv, "qk"), self.heads)
        whole = (attention_map(qkv, "kk") * chosen).sum(1, keepdim=True)  # (B, 1, T, T), for all channels
        added = tokens.block(mid).merge(whole.to(qkv[2].dtype) @ qkv[2])
        return cosine_map((tokens.hidden(mid) + added)[:, tokens.prefix :])

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the attention of the first pass; the second pass and post-aggregation come after it."""
        similarity = self.similarity(tokens)
        x = aggregation_weights(similarity, self.beta) @ tokens.patches(tokens.depth - 1).float()
        return self._mix(tokens, x, similarity_attention(similarity), values)

    def _mix(self, tokens: Tokens, x: Tensor, alike: Tensor, values: Tensor | None = None) -> Tensor:
        qkv = tokens.block(tokens.depth).qkv(x.to(tokens.backbone.dtype))
        maps = (attention_map(qkv, "kk") + alike[:, None]) / 2  # (B, H, N, N)
        whole = (maps * sharpest_heads(maps, self.heads)).sum(1, keepdim=True) / tokens.backbone.heads
        v = qkv[2] if values is None else values
        return whole.to(v.dtype) @ v

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches after both passes, each with heads of its own choice, and post-aggregation."""
        _, post, fused = calibration_blocks(tokens.depth)
        last, fusion = tokens.hidden(tokens.depth - 1).float(), fuse(tokens, fused)
        similarity = self.similarity(tokens)
        alike = similarity_attention(similarity)
        smooth = aggregation_weights(similarity, self.beta) @ last[:, tokens.prefix :]
        merge = tokens.block(tokens.depth).merge
        first, second = (merge(self._mix(tokens, x, alike)).float() for x in (smooth, fusion[:, tokens.prefix :]))
        cls = added_cls(self.name, tokens, self.w_cls, last, fusion)
        return post_aggregate(tokens, first + second + cls, post, self.beta)
