"""CLIPer (Sun et al., ICCV 2025), its CLIP-only part: one attention for all layers, summed over the blocks.

Attention of all blocks together places objects better than that of any one. Made symmetric and cleared of what every
patch receives, it mixes the values that the last block takes from the tokens of each layer; the maps of the words are
averaged over the layers.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import balanced_attention
from ovss.methods.base import Method, Paper, check_block, middle_blocks, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import DEEP

__all__ = ["Cliper"]


@register
@dataclass(frozen=True)
class Cliper(Method):
    """A = the sum of softmax(q k^T / sqrt d) over all blocks but the last, balanced; no residual, no FFN."""

    name: ClassVar[str] = "cliper"
    paper: ClassVar[Paper] = Paper(
        title="CLIPer: Hierarchically Improving Spatial Representation of CLIP for Open-Vocabulary Semantic "
        "Segmentation",
        authors="Lin Sun, Jiale Cao, Jin Xie, Xiaoheng Jiang, Yanwei Pang",
        venue="ICCV 2025",
        arxiv="2411.13836",
        support="TF-SF",
        layers="all blocks; embeddings are those of the last layer, from 24 blocks on of the one before it",
        deviations=(
            "the refinement by a diffusion model, the second module, is left out: it needs another network",
            "the sum is normalised once more for each layer, as the authors' code does in place; the paper has one "
            "attention for all layers (normalise='once')",
            "layers below the last one pass two LayerNorms, as in the authors' code",
            "the position embedding follows the protocol; the authors' code resizes it bilinearly to half precision",
            "labels come from a scaled softmax; the authors' come from `word_maps`, scaled to 0..1, and thresholds",
        ),
    )

    layer: int | None = parameter(
        None, "layer that is read; None: the last one, from 24 blocks on the one before it", "authors' code", "[1, inf)"
    )
    normalise: str = parameter(
        "each", "normalise the summed attention once more for each layer, or once", "authors' code", ("each", "once")
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of all blocks; InputError where the layer or a second block is missing."""
        if depth < 2:
            raise InputError("cliper: a model of 1 block has no attention before the last one; at least 2 are needed")
        self.chosen(depth)
        return frozenset(range(depth))

    def chosen(self, depth: int) -> int:
        """The layer whose embeddings are read."""
        return check_block(self.name, "layer", self.layer or (depth if depth < DEEP else depth - 1), depth)

    def maps(self, tokens: Tokens, layers: Container[int] | None = None) -> Iterator[Float[Tensor, "B H T T"]]:
        """Attention of some of the layers 1..L in turn, of all by default; float32."""
        return balanced_attention(tokens, self.normalise == "once", layers, middle_blocks(tokens.depth))

    def values(self, tokens: Tokens, layer: int) -> Float[Tensor, "B H T d"]:
        """Values that the last block takes from the tokens in front of a layer, normalised twice but for the last."""
        if layer == tokens.depth:
            return tokens.qkv(layer)[2]
        return tokens.block(tokens.depth).value(tokens.block(layer).norm(tokens.hidden(layer - 1)))

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values, by default those of the chosen layer, under its attention."""
        layer = self.chosen(tokens.depth)
        values = self.values(tokens, layer) if values is None else values
        return next(self.maps(tokens, [layer])).to(values.dtype) @ values

    def word_maps(
        self,
        tokens: Tokens,
        text: Float[Tensor, "Q E"],
        foreground: int,
        scale: float = 100.0,
        threshold: float = 0.1,
        fuse: bool = True,
    ) -> Float[Tensor, "B F h w"]:
        """Maps of the foreground words, averaged over the layers and spread by the attention of the last one.

        Args:
            tokens: One backbone pass.
            text: Word embeddings, rows of unit length: foreground words, then background words.
            foreground: Number F of foreground words; their mean is one more background word.
            scale: Factor of the cosines in the softmax over words.
            threshold: Share of a word's largest probability below which the map of the chosen layer is cut to zero.
            fuse: Add the mean over all layers; else the spread map alone.

        Raises:
            InputError: `foreground` is not a number of rows of `text`.
        """
        if not 1 <= foreground <= len(text):
            raise InputError(f"cliper: foreground={foreground} is outside 1..{len(text)}, the words given")
        words = text.to(tokens.backbone.device, torch.float32)
        words = torch.cat([words, unit(words[:foreground].mean(0, keepdim=True))])
        block, attention, layers = tokens.block(tokens.depth), None, []
        for number, attention in enumerate(self.maps(tokens), start=1):
            values = self.values(tokens, number)
            rows = unit(tokens.read_out(block.merge(attention.to(values.dtype) @ values)[:, tokens.prefix :]))
            layers.append((scale * rows @ words.T).softmax(-1)[..., :foreground].mT)  # (B, F, N)
        assert attention is not None
        place = self.chosen(tokens.depth) - 1
        cut = layers[place].masked_fill(layers[place] < threshold * layers[place].amax(-1, keepdim=True), 0)
        layers[place] = cut
        spread = cut @ attention.mean(1)[:, tokens.prefix :, tokens.prefix :]
        return (spread + torch.stack(layers).mean(0) if fuse else spread).unflatten(-1, tokens.grid)
