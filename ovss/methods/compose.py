"""The ingredients of all papers as parameters of one method.

Similarity kernel of the last block, neighbourhood, residual and FFN, token repair, aggregation before and after, a
second pass, where values come from, how regions are named: each can be switched alone or on top of the others.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import (
    DETECTORS,
    NAMINGS,
    PAIRS,
    RegionNaming,
    aggregation_weights,
    attend,
    coherent_attention,
    coherent_pairs,
    cosine_map,
    find_anomalies,
    gaussian_window,
    keep_similar,
    logit_bound,
    middle_attention,
    patch_qkv,
    repair,
    sharpest_heads,
    similarity_attention,
)
from ovss.methods.base import Method, Paper
from ovss.methods.cliper import Cliper
from ovss.methods.clipseg_aaai25 import ClipSegAaai25
from ovss.methods.cliptrase import ClipTrase
from ovss.methods.dihclip import DihClip
from ovss.methods.naclip import NaClip
from ovss.methods.parameters import parameter
from ovss.methods.pearl import Pearl
from ovss.methods.registry import register
from ovss.methods.resclip import ResClip
from ovss.methods.scclip import ScClip
from ovss.methods.sfp import Sfp
from ovss.methods.two_pass import added_cls, fuse, post_aggregate

__all__ = ["Compose"]

_OWN_MAPS = ("neighbours", "similar", "coherent", "middle", "keys", "balanced")
_KERNELS = (*PAIRS, "identity", "polar", "fused", *_OWN_MAPS)


@register
@dataclass(frozen=True)
class Compose(Method):
    """Any combination of the papers' ingredients; the named methods are points of this space."""

    name: ClassVar[str] = "compose"
    in_all: ClassVar[bool] = False
    paper: ClassVar[Paper] = Paper(
        title="Composition of the ingredients of the methods above",
        authors="",
        venue="this study",
        arxiv="",
        support="TF-SF",
        layers="those of the papers that the chosen ingredients come from",
    )

    kernels: tuple[str, ...] = parameter(
        ("qk",),
        "attention maps that are added: pairs of q, k, v; identity (MaskCLIP); polar (PEARL); fused: q-k of the sum of "
        "`fused_blocks`; neighbours alone (NACLIP); similar (SC-CLIP); coherent (CLIPSeg); middle: q-k of "
        "`middle_blocks` (ResCLIP); keys: k-k of all blocks (RF-CLIP); balanced: the sum of all q-k maps (CLIPer)",
        "all papers",
        _KERNELS,
    )
    weights: tuple[float, ...] | None = parameter(
        None, "factor of each kernel; None: 1 each", "SC-CLIP, ResCLIP", "(0, inf)"
    )
    sigma: float | None = parameter(
        None, "neighbourhood added to the logits of q, k, v pairs, in patches; None: none", "NACLIP", "(0, inf)"
    )
    middle_blocks: tuple[int, ...] | None = parameter(
        None, "blocks behind kernel 'middle'; None: ResCLIP's", "ResCLIP", "[1, inf)"
    )
    heads: int | None = parameter(
        None, "sharpest heads that are kept, each for all channels; None: all, as they are", "DIH-CLIP", "[1, inf)"
    )
    residual: bool = parameter(True, "add the block's input to the attention output", "ClearCLIP")
    ffn: bool = parameter(True, "apply the last FFN with its residual", "ClearCLIP")
    drop_cls: bool = parameter(False, "patches attend to patches only", "SC-CLIP")
    w_cls: float = parameter(0.0, "weight of the CLS token added to all patches", "SC-CLIP")
    repair: str = parameter(
        "none", "detector of the anomaly tokens that are repaired", "SC-CLIP, SFP", ("none", *DETECTORS, "som")
    )
    similarity: str = parameter(
        "plain",
        "similarities of the middle block: plain (SC-CLIP), those of at least beta (SFP), sharpened by its best heads "
        "(DIH-CLIP)",
        "SC-CLIP, SFP, DIH-CLIP",
        ("plain", "kept", "sharpened"),
    )
    aggregate_pre: bool = parameter(False, "aggregate the input of the last block", "SC-CLIP")
    aggregate_post: bool = parameter(False, "aggregate the output of the last block", "SC-CLIP")
    beta: float = parameter(0.4, "cosine from which patches are aggregated", "SC-CLIP")
    second_pass: bool | str = parameter(
        False,
        "add a second pass over the sum of `fused_blocks`; 'similar': under the similarities alone",
        "SC-CLIP, SFP",
        ("similar",),
    )
    fused_blocks: tuple[int, ...] | None = parameter(
        None, "blocks whose outputs are summed; None: SC-CLIP's", "SC-CLIP", "[1, inf)"
    )
    value_blocks: int = parameter(
        1, "number of last blocks whose own values are projected and averaged", "CLIPSeg (AAAI 2025)", "[1, inf)"
    )
    naming: str = parameter("none", "how regions are named, if at all", "CLIPtrase", ("none", *NAMINGS))

    def __post_init__(self) -> None:
        """Check the values, and that kernels and weights go together.

        Raises:
            InputError: A value is outside its domain, no kernel is given, or not one weight for each.
        """
        super().__post_init__()
        if not self.kernels:
            raise InputError(f"compose: kernels=() is empty; name at least one of {', '.join(_KERNELS)}")
        if self.weights is not None and len(self.weights) != len(self.kernels):
            raise InputError(f"compose: weights={self.weights} must be {len(self.kernels)} numbers, one per kernel")

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read, by ingredient.

        Raises:
            InputError: The model has fewer blocks than `value_blocks`, or not those that are named.
        """
        if self.value_blocks > depth:
            raise InputError(f"compose: value_blocks={self.value_blocks} is outside 1..{depth}, the model's blocks")
        mid, post, fused = self.frame.blocks(depth)
        wanted = {depth - number for number in range(1, self.value_blocks + 1)}
        if self.compares:
            wanted.update({mid, mid - 1} if self.similarity == "sharpened" else {mid})
        if self.repair == "som":
            wanted.update(Sfp().layers(depth) & {depth - 2})
        if self.aggregate_post:
            wanted.add(post)
        if self.second_pass or "fused" in self.kernels:
            wanted.update(fused)
        if "coherent" in self.kernels:
            wanted.update(ClipSegAaai25().blocks(depth))
        if "middle" in self.kernels:
            wanted.update(self.middle.layers(depth))
        if "keys" in self.kernels:
            wanted.update(range(depth))
        if "balanced" in self.kernels:
            wanted.update(Cliper().layers(depth))
        if self.regions is not None:
            wanted.update(ClipTrase().layers(depth))
        return frozenset(wanted)

    @property
    def frame(self) -> ScClip:
        """SC-CLIP with the fused blocks of this composition."""
        return ScClip(fused_blocks=self.fused_blocks)

    @property
    def middle(self) -> ResClip:
        """ResCLIP with the middle blocks of this composition."""
        return ResClip(middle_blocks=self.middle_blocks)

    @property
    def compares(self) -> bool:
        """Whether an ingredient needs the similarities of the middle block."""
        return self.aggregate_pre or "similar" in self.kernels or self.second_pass == "similar"

    @property
    def patches_only(self) -> bool:
        """Whether patches attend to patches only."""
        return self.drop_cls

    def prepare(self, tokens: Tokens) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B N N"] | None]:
        """Tokens that enter the last block and, where an ingredient needs them, the similarities in the middle one."""
        x = last = tokens.hidden(tokens.depth - 1)
        anomalous = None
        if self.repair != "none":
            patches = x[:, tokens.prefix :]
            anomalous = Sfp().find_outliers(tokens) if self.repair == "som" else find_anomalies(patches, self.repair)
            x = _with_cls(last, repair(patches.float(), anomalous, tokens.grid))
        similarity = self.compare(tokens, anomalous) if self.compares else None
        if self.aggregate_pre and similarity is not None:
            x = _with_cls(last, aggregation_weights(similarity, self.beta) @ x[:, tokens.prefix :].float())
        return x, similarity

    def compare(self, tokens: Tokens, anomalous: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B N N"]:
        """Similarities of the patches in the middle block, repaired where `anomalous` says so."""
        if self.similarity == "sharpened":
            return DihClip(heads=self.heads or DihClip().heads).similarity(tokens)
        middle = tokens.patches(self.frame.blocks(tokens.depth)[0]).float()
        similarity = cosine_map(middle if anomalous is None else repair(middle, anomalous, tokens.grid))
        return keep_similar(similarity, self.beta) if self.similarity == "kept" else similarity

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values of the last block under the kernels of the first pass; a second pass and aggregation come after it."""
        x, similarity = self.prepare(tokens)
        qkv = self.project(tokens, x)
        return self.weigh(tokens, qkv, qkv[2] if values is None else values, similarity)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches after all passes and post-aggregation."""
        _, post, fused = self.frame.blocks(tokens.depth)
        x, similarity = self.prepare(tokens)
        y = self.attend_once(tokens, x, similarity)
        if self.second_pass:
            alike = replace(self, kernels=("similar",), weights=None) if self.second_pass == "similar" else self
            y = y + alike.attend_once(tokens, fuse(tokens, fused), similarity)
        if self.aggregate_post:
            y = post_aggregate(tokens, y, post, self.beta)
        return y.to(tokens.backbone.dtype)

    def attend_once(
        self, tokens: Tokens, x: Float[Tensor, "B T D"], similarity: Float[Tensor, "B N N"] | None
    ) -> Float[Tensor, "B N D"]:
        """One pass through the last block.

        Args:
            tokens: One backbone pass.
            x: Tokens entering the block, CLS first.
            similarity: Cosines of the patches in the middle block, where an ingredient needs them.

        Returns:
            The patches, float32.
        """
        block, dtype = tokens.block(tokens.depth), tokens.backbone.dtype
        qkv = self.project(tokens, x)
        cls = added_cls(self.name, tokens, self.w_cls, x)
        if self.drop_cls:
            x = x[:, tokens.prefix :]
        y = block.merge(self.weigh(tokens, qkv, qkv[2], similarity))
        for number in range(tokens.depth - self.value_blocks + 1, tokens.depth):
            values = tokens.qkv(number)[2][:, :, tokens.prefix :] if self.drop_cls else tokens.qkv(number)[2]
            y = y + tokens.block(number).merge(self.weigh(tokens, qkv, values, similarity))
        y = y / self.value_blocks
        if self.residual:
            y = y + x.to(dtype)
        if self.ffn:
            y = y + block.ffn(y)
        return (y if self.drop_cls else y[:, tokens.prefix :]).float() + cls

    def project(self, tokens: Tokens, x: Float[Tensor, "B T D"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the last block on its own or changed tokens, without CLS where it is dropped."""
        unchanged = x is tokens.hidden(tokens.depth - 1)
        block = tokens.block(tokens.depth)
        qkv = tokens.qkv(tokens.depth) if unchanged else block.qkv(x.to(tokens.backbone.dtype))
        return patch_qkv(qkv, tokens.prefix) if self.drop_cls else qkv

    def weigh(
        self, tokens: Tokens, qkv: tuple[Tensor, Tensor, Tensor], values: Tensor, similarity: Tensor | None
    ) -> Float[Tensor, "B H T d"]:
        """Values under the weighted sum of the kernels."""
        if self.heads is not None:
            size = values.shape[-2]
            eye = torch.eye(size, dtype=values.dtype, device=values.device).expand(*values.shape[:2], size, size)
            maps = replace(self, heads=None).weigh(tokens, qkv, eye, similarity)
            whole = (maps * sharpest_heads(maps.float(), self.heads)).sum(1, keepdim=True) / maps.shape[1]
            return whole @ values
        bias = None
        if self.sigma is not None:
            bias = gaussian_window(tokens.grid, self.sigma, values.device, self._prefix(tokens))
        mixed = torch.zeros_like(values)
        for kernel, weight in zip(self.kernels, self.weights or (1.0,) * len(self.kernels), strict=True):
            if kernel in PAIRS:
                part = attend(qkv, kernel, bias=bias, values=values)
            elif kernel == "fused":
                fusion = fuse(tokens, self.frame.blocks(tokens.depth)[2])
                part = attend(self.project(tokens, fusion), "qk", bias=bias, values=values)
            elif kernel == "polar":
                part = Pearl().weigh(qkv, values, self._prefix(tokens))
            elif kernel == "identity":
                part = values
            else:
                part = self.map_of(kernel, tokens, qkv, similarity).to(values.dtype) @ values
            mixed = mixed + weight * part
        return mixed

    def _prefix(self, tokens: Tokens) -> int:
        return 0 if self.drop_cls else tokens.prefix

    def map_of(
        self, kernel: str, tokens: Tokens, qkv: tuple[Tensor, Tensor, Tensor], similarity: Tensor | None
    ) -> Float[Tensor, "B H T T"]:
        """Attention map of a kernel other than the pairs of q, k, v; rows sum to 1, the head dimension may be 1."""
        if kernel == "neighbours":
            window = gaussian_window(tokens.grid, self.sigma or NaClip().sigma, qkv[0].device, self._prefix(tokens))
            return torch.softmax(logit_bound(qkv)[:, None, None, None] * window, dim=-1)
        if kernel in ("middle", "keys", "balanced"):
            whole = self._of_all_tokens(kernel, tokens)
            patches = whole[..., tokens.prefix :, tokens.prefix :]
            return patches / patches.sum(-1, keepdim=True) if self.drop_cls else whole
        if kernel == "coherent":
            settings = ClipSegAaai25()
            alike = settings.similarity(tokens)
            patches = coherent_attention(alike, coherent_pairs(alike, settings.threshold), settings.temperature)
        else:
            assert similarity is not None
            patches = similarity_attention(similarity)
        return patches[:, None] if self.drop_cls else _beside_prefix(patches, tokens.prefix)[:, None]

    def _of_all_tokens(self, kernel: str, tokens: Tokens) -> Float[Tensor, "B H T T"]:
        if kernel == "middle":
            return middle_attention(tokens, self.middle.blocks(tokens.depth))
        if kernel == "keys":
            return middle_attention(tokens, range(1, tokens.depth + 1), "kk")
        return next(Cliper().maps(tokens, [Cliper().chosen(tokens.depth)]))

    @property
    def regions(self) -> RegionNaming | None:
        """CLIPtrase's regions, where `naming` asks for them."""
        return RegionNaming(self.naming) if self.naming != "none" else None


def _with_cls(tokens: Float[Tensor, "B T D"], patches: Float[Tensor, "B N D"]) -> Float[Tensor, "B T D"]:
    """The tokens in front of the patches of `tokens`, then other patches, float32."""
    return torch.cat([tokens[:, : tokens.shape[1] - patches.shape[1]].float(), patches], dim=1)


def _beside_prefix(attention: Float[Tensor, "B N N"], prefix: int) -> Float[Tensor, "B T T"]:
    """Attention among patches, with tokens in front of them that attend to themselves alone."""
    whole = F.pad(attention, (prefix, 0, prefix, 0))
    whole.diagonal(dim1=1, dim2=2)[:, :prefix] = 1
    return whole
