"""CLIPtrase (Shao, Tian, Zhao, Su, ECCV 2024): local features from self-correlation, regions from clusters.

Attention among queries, keys and values replaces the last block's own. The self-correlation of the block before it,
cleared of what CLS correlates with, is clustered into regions, and each region gets one name.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import DENOISERS, NAMINGS, RegionNaming, attend_last
from ovss.methods.base import Method, Paper, finish_block, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["ClipTrase"]


@register
@dataclass(frozen=True)
class ClipTrase(Method):
    """A = softmax(q q^T) + softmax(k k^T) + softmax(v v^T), rows sum to 3; residual and FFN stay; regions by DBSCAN.

    Embeddings come out of any model; regions are refused where there is no class token to clear them of.
    """

    name: ClassVar[str] = "cliptrase"
    paper: ClassVar[Paper] = Paper(
        title="Explore the Potential of CLIP for Training-Free Open Vocabulary Semantic Segmentation",
        authors="Tong Shao, Zhuotao Tian, Hang Zhao, Jingyong Su",
        venue="ECCV 2024",
        arxiv="2407.08268",
        support="TF-SF",
        layers="the last block for the embeddings, the one before it for the regions, for any depth",
        deviations=(
            "DBSCAN's radius and neighbourhood follow the number of patches where the authors give no pair",
            "denoise='dice' is our reading of the rule that the paper describes; the authors' code does not contain it",
            "under overlapping windows regions take mean scores (as in the authors' second code base), since votes of "
            "windows cannot be averaged",
        ),
    )

    denoise: str = parameter("code", "how CLS is taken out of the self-correlation", "authors' code", DENOISERS)
    eps: float | None = parameter(
        None, "DBSCAN's radius; None: 0.7 at 14x14, 1.1 at 21x21, else 0.05 sqrt(N)", "authors' code", "(0, inf)"
    )
    min_samples: int | None = parameter(
        None,
        "DBSCAN's smallest neighbourhood; None: 3 at 14x14, 7 at 21x21, else 0.0156 N",
        "authors' code",
        "[1, inf)",
    )
    naming: str = parameter(
        "vote",
        "a region takes the majority of its pixels' classes, or its mean scores",
        "authors' code",
        NAMINGS,
    )

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the last two blocks.

        Raises:
            InputError: The model has a single block.
        """
        if depth < 2:
            raise InputError("cliptrase: a model of 1 block has no block before the last one; at least 2 are needed")
        return frozenset({depth - 2, depth - 1})

    def mix(self, tokens: Tokens, values: Tensor | None = None, rows: slice = slice(None)) -> Float[Tensor, "B H T d"]:
        """Values under the sum of the three maps.

        Args:
            tokens: One backbone pass.
            values: See `Method.mix`.
            rows: Tokens that look.
        """
        if rows == slice(None):
            return torch.stack([attend_last(tokens, pair, values) for pair in ("qq", "kk", "vv")]).sum(0)
        qkv = tokens.qkv(tokens.depth)
        v = qkv[2] if values is None else values
        return torch.stack([F.scaled_dot_product_attention(part[:, :, rows], part, v) for part in qkv]).sum(0)

    @property
    def residual_and_ffn(self) -> tuple[bool, bool]:
        """Both stay."""
        return True, True

    def class_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q"]:
        """Cosine of the image embedding with each query: of CLS, or of the pool, after the changed last block."""
        if tokens.backbone.pooling == "class token":
            front = slice(0, 1)
            cls = finish_block(tokens, self.mix(tokens, rows=front), residual=True, ffn=True, rows=front)
            cls = unit(tokens.read_out(cls))[:, 0]
        else:
            cls = unit(tokens.backbone.pooled(self.stream(tokens)))
        return cls @ text.to(cls.device, torch.float32).T

    @property
    def regions(self) -> RegionNaming:
        """Regions are always named."""
        return RegionNaming(self.naming, self.denoise, self.eps, self.min_samples)

    def correlation(self, tokens: Tokens) -> Float[Tensor, "B N N"]:
        """Denoised self-correlation R of the block before the last one."""
        return self.regions.correlation(tokens)
