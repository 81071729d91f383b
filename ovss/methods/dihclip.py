"""DIH-CLIP (Duan, Yang, Wang, ICCV 2025): only the least diffuse heads are kept, and each mixes all channels.

Heads whose attention has a low entropy look at few patches and place objects; the others spread what the whole image
says. The frame is SC-CLIP's without repair: similarities of a middle block, sharpened by its own best heads, smooth the
last block before and after and join its attention.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.ingredients import (
    aggregation_weights,
    attention_map,
    cosine_map,
    sharpest_heads,
    similarity_attention,
    spread,
)
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import LAYERS, calibration_blocks, cls_weight_parameter, finish_both, fused_kv

__all__ = ["DihClip"]


@register
@dataclass(frozen=True)
class DihClip(Method):
    """A = sum of (softmax(k k^T) + similarity attention) / 2 over the sharpest heads, by H; two passes; aggregation.

    A model without class token has nothing to add to every patch; it is refused unless `w_cls` is 0.
    """

    name: ClassVar[str] = "dihclip"
    applies_mixes: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="DIH-CLIP: Unleashing the Diversity of Multi-Head Self-Attention for Training-Free Open-Vocabulary "
        "Semantic Segmentation",
        authors="Songsong Duan, Xi Yang, Nannan Wang",
        venue="ICCV 2025",
        arxiv="",
        support="TF-SF",
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
        keys = _of_heads(qkv[1], sharpest_heads(attention_map(qkv, "qk"), self.heads), self.heads)
        whole = attention_map((keys, keys, keys), "kk").sum(1)  # (B, T, T), for all channels
        added = tokens.block(mid).merge(spread(whole, qkv[2]))
        return cosine_map((tokens.hidden(mid) + added)[:, tokens.prefix :])

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the attention of the first pass; the second pass and post-aggregation come after it."""
        similarity = self.similarity(tokens)
        return self.weigh(self.project(tokens, similarity), similarity_attention(similarity), values)

    def project(self, tokens: Tokens, similarity: Float[Tensor, "B N N"]) -> tuple[Tensor, Tensor]:
        """Keys and values of the last block on its patches, aggregated."""
        x = aggregation_weights(similarity, self.beta) @ tokens.patches(tokens.depth - 1).float()
        return tokens.block(tokens.depth).kv(x.to(tokens.backbone.dtype))

    def weigh(self, kv: tuple[Tensor, Tensor], alike: Tensor, values: Tensor | None = None) -> Tensor:
        """Values of the patches under the attention among keys and that of the similarities, of the sharpest heads."""
        k, v = kv[0], kv[1] if values is None else values
        maps = attention_map((k, k, v), "kk").add_(alike[:, None]).div_(2)  # (B, H, N, N)
        return spread(_of_heads(maps, sharpest_heads(maps, self.heads), self.heads).sum(1) / maps.shape[1], v)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches after both passes, each with heads of its own choice, and post-aggregation."""
        similarity = self.similarity(tokens)
        alike = similarity_attention(similarity)
        both = self.project(tokens, similarity), fused_kv(tokens, calibration_blocks(tokens.depth)[2])
        first, second = (self.apply_mix(partial(self.weigh, kv, alike), kv[1]) for kv in both)
        return finish_both(self.name, tokens, first, second, self.w_cls, self.beta)


def _of_heads(parts: Float[Tensor, "B H T x"], chosen: Bool[Tensor, "B H 1 1"], count: int) -> Float[Tensor, "B K T x"]:
    """Those of some heads, `count` in each image (all, where it has fewer)."""
    heads = chosen.flatten(1).byte().argsort(dim=1, descending=True, stable=True)[:, :count]
    return parts[torch.arange(len(parts), device=parts.device)[:, None], heads]
