"""RF-CLIP (Li et al., AAAI 2026), its vision side: patches that massive channels distract are blurred in every block.

A few channels grow massive in some patches, which then draw the attention of all others. After each block such patches
are blended with the mean of their neighbourhood, so the method runs a pass of its own. Similarities of the mean output
smooth what enters the last block, whose attention is the mean of the key-key attention of all blocks.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import Blur, attention_map, cosine_map, keep_similar, key_attention
from ovss.methods.base import Method, Paper, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import fuse

__all__ = ["RfClip"]


@register
@dataclass(frozen=True)
class RfClip(Method):
    """A = mean of softmax(k k^T) of all blocks on a blurred pass; patches smoothed by the mean output; no residual."""

    name: ClassVar[str] = "rfclip"
    own_pass: ClassVar[bool] = True
    in_all: ClassVar[bool] = False
    applies_mixes: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Target Refocusing via Attention Redistribution for Open-Vocabulary Semantic Segmentation: An "
        "Explainability Perspective",
        authors="Jiahao Li, Yang Lu, Yachao Zhang, Yong Xie, Fangyong Wang, Yuan Xie, Yanyun Qu",
        venue="AAAI 2026",
        arxiv="2511.16170",
        support="TF-SF",
        layers="all blocks, of a pass of its own from the input of block 1 on",
        deviations=(
            "distracted patches are blended in all channels, as in the authors' code; the paper replaces few",
            "attention is not redistributed unless refocus is given: the step is switched off in the authors' code",
            "the text side, hierarchical prompts and image scores, is left out: it belongs to the protocol",
            "massive channels are known for OpenAI's ViT-B/16 and ViT-L/14 only and must be given for other weights",
            "written from a transcription of the authors' code",
        ),
    )

    channels: tuple[int, ...] | None = parameter(
        None, "massive channels, from 0; None: those of OpenAI's ViT-B/16 or ViT-L/14", "authors' code", "[0, inf)"
    )
    sigma: float = parameter(5.0, "share of a channel that distracts, in mean shares", "authors' code", "(0, inf)")
    alpha: float = parameter(0.4, "weight of the neighbourhood in a distracted patch", "authors' code", "[0, 1]")
    beta: float = parameter(0.4, "cosine from which patches count as alike", "authors' code")
    refocus: float | None = parameter(
        None, "mean attention above which a patch loses some, the paper's 0.1; None: off", "authors' code", "[0, inf)"
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the input of block 1, and its output, up to which both passes are one.

        Raises:
            InputError: The model has a single block.
        """
        if depth < 2:
            raise InputError("rfclip: a model of 1 block has no attention before the last one; at least 2 are needed")
        return frozenset({0, 1} if self.refocus is None else {0})

    @property
    def patches_only(self) -> bool:
        """CLS is dropped from the attention."""
        return True

    def blurred(self, tokens: Tokens) -> Tokens:
        """The method's own pass; see `Blur`."""
        return tokens.intervened(Blur.of(tokens.backbone, self.channels, self.sigma, self.alpha, self.refocus))

    def guide(self, own: Tokens) -> Float[Tensor, "B T D"]:
        """Mean of the outputs of all blocks."""
        return fuse(own, tuple(range(1, own.depth + 1))) / own.depth

    def attended(self, own: Tokens, *streams: Float[Tensor, "B T D"]) -> list[tuple[Tensor, Tensor]]:
        """Attention (B, H, N, N) and values (B, H, N, d) of the last block on each stream, smoothed by the guide.

        The attention is the mean of all blocks' among keys, in which only the last block's depends on the stream.
        """
        found, prefix = [], own.prefix
        similarity = keep_similar(cosine_map(self.guide(own)[:, prefix:]), self.beta)
        earlier = key_attention(own.qkv(n)[1] for n in range(1, own.depth))
        for y in streams:
            smoothed = torch.cat([y[:, :prefix].float(), similarity @ y[:, prefix:].float()], dim=1)
            k, v = own.block(own.depth).kv(smoothed.to(own.backbone.dtype))
            maps = torch.lerp(earlier, attention_map((k, k, v), "kk"), 1 / own.depth)
            found.append((maps[..., prefix:, prefix:].to(v.dtype), v[:, :, prefix:]))
        return found

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the attention of the first pass, over the input of the last block."""
        own = self.blurred(tokens)
        [(maps, v)] = self.attended(own, own.hidden(own.depth - 1))
        return maps @ (v if values is None else values)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches: the mean over both passes."""
        own = self.blurred(tokens)
        both = self.attended(own, own.hidden(own.depth - 1), self.guide(own))
        mixed = [self.apply_mix(partial(torch.matmul, maps), v) for maps, v in both]
        return own.block(own.depth).merge(torch.stack(mixed).mean(0))

    def class_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q"]:
        """Cosine of the image embedding, by the last state of the method's own pass, with each query."""
        whole = unit(self.blurred(tokens).image_embedding())
        return whole @ text.to(whole.device, torch.float32).T
