"""CLIPSeg (Liu et al., AAAI 2025), our reading: attention from the middle blocks, values from the last ones.

Middle blocks see which patches belong together more coherently than the last one, so they say which patch looks at
which; the last blocks together know best what is seen, so they provide the values. Not the CLIPSeg of CVPR 2022.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone, Tokens
from ovss.errors import InputError
from ovss.ingredients import (
    VOID,
    attention_map,
    coherence_auc,
    coherent_attention,
    coherent_pairs,
    cosine_map,
    patch_labels,
    patch_qkv,
    restrict_attention,
    shared_attention,
)
from ovss.methods.base import Method, Paper, check_block, middle_blocks
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import fuse

__all__ = ["ClipSegAaai25"]

_ATTENTIONS = ("coh", "res", "self")


@register
@dataclass(frozen=True)
class ClipSegAaai25(Method):
    """Coherence-enhanced residual attention (CRA) over deep semantic integration (DSI); no residual, no FFN."""

    name: ClassVar[str] = "clipseg_aaai25"
    applies_mixes: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Unveiling the Knowledge of CLIP for Training-Free Open-Vocabulary Semantic Segmentation",
        authors="Yajie Liu, Guodong Wang, Jinjin Zhang, Qingjie Liu, Di Huang",
        venue="AAAI 2025",
        arxiv="",
        support="TF-SF",
        layers="blocks 6..9 of 12 or 12..17 of 24 for the attention (at another depth the numbers for 12 are scaled), "
        "the last three blocks for the values",
        deviations=(
            "a reconstruction: equations and code are not public to us; known are the two modules, the cosine distance "
            "0.75, the temperature 6 and the ensemble of the last three blocks",
            "our choice: patches are compared by the mean of the middle blocks' outputs",
            "our choice: the attention is the mean of coherent attention (softmax of the kept similarities) and of the "
            "middle blocks' query-key attention restricted to the kept pairs",
            "our choice: each of the last three blocks projects its own values under that one attention",
        ),
    )

    middle_blocks: tuple[int, ...] | str | None = parameter(
        None,
        "blocks behind the attention; None: 6..9 of 12, 12..17 of 24; 'auto': see calibrate",
        "our choice",
        "[1, inf)",
    )
    threshold: float = parameter(
        0.75, "largest cosine distance of patches that may attend to each other", "paper", "[0, 2]"
    )
    temperature: float = parameter(6.0, "factor of the cosines in the coherent attention", "paper, Eq. 3", "(0, inf)")
    attention: tuple[str, ...] = parameter(
        ("coh", "res"),
        "maps that are averaged: coh(erent), res(idual q-k of the middle blocks), self (last block)",
        "our choice",
        _ATTENTIONS,
    )
    values: str = parameter(
        "each",
        "each of the last blocks projects its own values, or the last one the mean of their inputs",
        "our choice",
        ("each", "last"),
    )
    value_blocks: int = parameter(3, "number of last blocks that provide values", "paper", "[1, inf)")

    def __post_init__(self) -> None:
        """Check the values, and that there is some attention.

        Raises:
            InputError: A value is outside its domain.
        """
        super().__post_init__()
        if isinstance(self.middle_blocks, str) and self.middle_blocks != "auto":
            raise InputError(f"{self.name}: middle_blocks={self.middle_blocks!r} is neither 'auto' nor block numbers")
        if not self.attention or self.middle_blocks == ():
            empty = "middle_blocks" if self.attention else "attention"
            raise InputError(f"{self.name}: {empty}=() is empty; name at least one")

    def blocks(self, depth: int) -> tuple[int, ...]:
        """Numbers of the middle blocks at a depth.

        Raises:
            InputError: A chosen block does not exist, or 'auto' has not been resolved by `calibrate`.
        """
        if self.middle_blocks == "auto":
            raise InputError(f"{self.name}: middle_blocks='auto' needs labelled images first; see calibrate")
        chosen = self.middle_blocks or (tuple(range(12, 18)) if depth == 24 else middle_blocks(depth))
        return tuple(check_block(self.name, "middle_blocks", int(block), depth) for block in chosen)

    def deep_blocks(self, depth: int) -> range:
        """Numbers of the blocks that provide values.

        Raises:
            InputError: The model has fewer blocks.
        """
        if self.value_blocks > depth:
            raise InputError(
                f"{self.name}: value_blocks={self.value_blocks} is outside 1..{depth}, the blocks of this model"
            )
        return range(depth - self.value_blocks + 1, depth + 1)

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: inputs and outputs of the middle blocks, inputs of the last ones."""
        middle = self.blocks(depth)
        deep = self.deep_blocks(depth)
        return frozenset({*middle, *(b - 1 for b in middle), *(b - 1 for b in deep), depth - 1})

    def similarity(self, tokens: Tokens) -> Float[Tensor, "B N N"]:
        """Cosines of the patches in the mean of the middle blocks' outputs."""
        return cosine_map(fuse(tokens, self.blocks(tokens.depth))[:, tokens.prefix :])  # cosines know no factor

    def cra(self, tokens: Tokens) -> Float[Tensor, "B H N N"]:
        """CRA: the mean of the chosen maps over the patches, rows sum to 1 (the head dimension may be 1)."""
        similarity = self.similarity(tokens)
        kept = coherent_pairs(similarity, self.threshold)
        maps = []
        if "coh" in self.attention:
            maps.append(coherent_attention(similarity, kept, self.temperature)[:, None])
        if "res" in self.attention:
            maps.append(
                restrict_attention(
                    shared_attention(tokens, self.blocks(tokens.depth))[..., tokens.prefix :, tokens.prefix :], kept
                )
            )
        if "self" in self.attention:
            patches = patch_qkv(tokens.qkv(tokens.depth), tokens.prefix)
            q, k, v = (attention_map(patches, pair) for pair in ("qq", "kk", "vv"))
            maps.append((q + k + v) / 3)
        total = maps[0]
        for other in maps[1:]:
            total = total + other
        return total / len(maps)

    @property
    def patches_only(self) -> bool:
        """CLS is dropped before the attention."""
        return True

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values of the patches, by default the last block's, under the one attention of all value blocks."""
        v = tokens.qkv(tokens.depth)[2][:, :, tokens.prefix :] if values is None else values
        return self.cra(tokens).to(v.dtype) @ v

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches: the mean of what the last blocks give under the one attention."""
        mix = partial(torch.matmul, self.cra(tokens).to(tokens.backbone.dtype))
        deep = self.deep_blocks(tokens.depth)
        if self.values == "last":
            inputs = torch.stack([tokens.patches(number - 1) for number in deep]).mean(0)  # (B, N, D)
            block = tokens.block(tokens.depth)
            return block.merge(self.apply_mix(mix, block.value(inputs)))
        values = {n: tokens.qkv(n)[2][:, :, tokens.prefix :] for n in deep}
        outputs = [tokens.block(n).merge(self.apply_mix(mix, value)) for n, value in values.items()]
        return torch.stack(outputs).mean(0)

    def calibrate(self, backbone: Backbone, samples: Iterable[Any], void: int = 255) -> "ClipSegAaai25":
        """Resolve middle_blocks='auto': the block whose patch similarities tell classes apart best.

        Args:
            backbone: The model.
            samples: A few labelled images, each with `.image` and `.labels`; brought to the model's native size.
            void: Label of pixels that do not count.

        Returns:
            This method with the best block as its only middle block; itself where nothing is 'auto'.

        Raises:
            InputError: No image has patches of two classes.
        """
        if self.middle_blocks != "auto":
            return self
        size = (backbone.image_size, backbone.image_size)
        values = []
        for sample in samples:
            pixels = backbone.preprocess(sample.image.resize(size, Image.Resampling.BICUBIC))
            tokens = backbone.encode_tokens(pixels[None])
            pixel_labels = np.asarray(sample.labels).astype(np.int64)
            pixel_labels[pixel_labels == void] = VOID
            labels = patch_labels(pixel_labels, tokens.grid, int(pixel_labels.max(initial=0)) + 1).ravel()
            maps = (cosine_map(tokens.patches(block))[0] for block in range(1, tokens.depth + 1))
            values.append([coherence_auc(one.cpu().numpy(), labels) for one in maps])
        usable = [row for row in values if not np.isnan(row).any()]
        if not usable:
            raise InputError(f"{self.name}: middle_blocks='auto' needs an image with patches of at least two classes")
        return replace(self, middle_blocks=(int(np.mean(usable, axis=0).argmax()) + 1,))
