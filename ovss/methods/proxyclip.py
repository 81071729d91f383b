"""ProxyCLIP (Lan et al., ECCV 2024): which patch attends to which comes from a second vision transformer.

Features of a self-supervised model say which patches belong together, CLIP says what they show. The cosines of the
companion's patches, sharpened and cut off at their mean, are the attention over CLIP's values, on the companion's grid.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import cosine_map, similarity_attention, spread
from ovss.methods.base import Method, Paper, scale_block, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["ProxyClip"]


@register
@dataclass(frozen=True)
class ProxyClip(Method):
    """A = softmax(gamma (S - beta mean(S))) of the companion's cosines S, negative entries cut; no residual, no FFN."""

    name: ClassVar[str] = "proxyclip"
    uses_companion: ClassVar[bool] = True
    in_all: ClassVar[bool] = False
    paper: ClassVar[Paper] = Paper(
        title="ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation",
        authors="Mengcheng Lan, Chaofeng Chen, Yiping Ke, Xinjiang Wang, Litong Feng, Wayne Zhang",
        venue="ECCV 2024",
        arxiv="2408.04883",
        support="TF-SF",
        layers="last block, and of a model without a companion a middle one, scaled with depth",
        deviations=(
            "without a companion CLIP is its own: patches of a middle block stand for the second model's, an ablation",
            "the mean similarity is that of each image; the authors' code takes it over the batch",
            "rows and columns of a grid that is not square are kept apart; the authors' code takes it as square",
            "a token always attends to itself; in the authors' code a uniform image has rows without any entry",
        ),
    )

    beta: float = parameter(1.2, "share of the mean similarity that is taken off", "section 3.3", "[0, inf)")
    gamma: float = parameter(3.0, "factor of what exceeds it", "section 3.3", "(0, inf)")
    own_block: int = parameter(
        9, "block, of 12, whose patches are compared where no companion is given", "our choice, SC-CLIP's", "[1, 12]"
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the input of the last block, and the output of the block that is compared."""
        return frozenset({depth - 1, min(scale_block(self.own_block, depth), depth - 1)})

    @property
    def mixes_once(self) -> bool:
        """Without a second network, whose patches lie on another grid."""
        return True

    @property
    def patches_only(self) -> bool:
        """CLS is dropped."""
        return True

    def own_features(self, tokens: Tokens) -> Float[Tensor, "B D h w"]:
        """CLIP's own patches in the place of a companion's."""
        number = min(scale_block(self.own_block, tokens.depth), tokens.depth - 1)
        return tokens.patches(number).mT.unflatten(-1, tokens.grid)

    def attention(self, companion: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 1 M M"]:
        """Attention among the companion's patches, one for all heads, float32."""
        return similarity_attention(cosine_map(companion.flatten(2).mT), self.gamma, self.beta)[:, None]

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the attention of CLIP as its own companion."""
        values = tokens.qkv(tokens.depth)[2][:, :, tokens.prefix :] if values is None else values
        return spread(self.attention(self.own_features(tokens))[:, 0], values)

    def stream(self, tokens: Tokens, companion: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B M D"]:
        """Patches on the companion's grid, or on the backbone's without one.

        Raises:
            InputError: Features that are no maps, or of another number of images.
        """
        if companion is None:
            return super().stream(tokens)
        if companion.ndim != 4 or len(companion) != tokens.batch:
            raise InputError(
                f"proxyclip: the companion's features must be ({tokens.batch}, channels, rows, columns) for "
                f"{tokens.batch} images, not {tuple(companion.shape)}"
            )
        v = tokens.qkv(tokens.depth)[2][:, :, tokens.prefix :]
        maps = v.mT.flatten(1, 2).unflatten(-1, tokens.grid)  # (B, H * d, h, w)
        maps = F.interpolate(maps, size=companion.shape[-2:], mode="bilinear", align_corners=False)
        values = maps.flatten(2).unflatten(1, (v.shape[1], -1)).mT  # (B, H, M, d)
        return tokens.block(tokens.depth).merge(spread(self.attention(companion.to(v.device))[:, 0], values))

    def patch_embeddings(
        self, tokens: Tokens, companion: Float[Tensor, "B C h w"] | None = None
    ) -> Float[Tensor, "B M E"]:
        """Patch embeddings, unit rows, on the companion's grid.

        Args:
            tokens: One backbone pass.
            companion: Patch features of a second model on the same windows (see `ovss.backbone.load_companion`); its
                grid may be another than the backbone's. None: CLIP is its own companion.
        """
        return unit(tokens.read_out(self.stream(tokens, companion)))

    def patch_scores(
        self, tokens: Tokens, text: Float[Tensor, "Q E"], companion: Float[Tensor, "B C h w"] | None = None
    ) -> Float[Tensor, "B Q h w"]:
        """Cosine of each patch of the companion's grid with each query, in float32."""
        rows = self.patch_embeddings(tokens, companion)
        scores = torch.matmul(text.to(rows.device, torch.float32), rows.mT)
        return scores.unflatten(-1, tokens.grid if companion is None else companion.shape[-2:])
