"""PEARL (CVPR 2026), its polar-aligned attention: keys are rotated onto the queries before they meet.

Queries and keys of CLIP live in different corners of their space. The rotation that brings the centred keys nearest to
the centred queries is found per head, and the agreement of centred keys is added to the logits.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["Pearl"]


@register
@dataclass(frozen=True)
class Pearl(Method):
    """A = softmax((q (k R)^T + alpha kc kc^T) / sqrt d), kc centred keys, R their rotation; no residual, no FFN."""

    name: ClassVar[str] = "pearl"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="PEARL: Geometry Aligns Semantics for Training-Free Open-Vocabulary Semantic Segmentation",
        authors="Gensheng Pei, Xiruo Jiang, Xinhao Cai, Tao Chen, Yazhou Yao, Byeungwoo Jeon",
        venue="CVPR 2026",
        arxiv="2603.21528",
        support="TF-SF",
        deviations=(
            "text-aware label propagation, the second module, acts on stitched scores and belongs to the protocol",
            "five Newton-Schulz steps, as in the authors' code, are far from a rotation; solver='svd' is the "
            "orthogonal one that the paper describes",
            "centring enters the rotation and the second term; the first term compares uncentred queries and keys, as "
            "in the authors' code",
            "alpha is one fixed value; the authors take 0.3 for Cityscapes and ADE20K",
        ),
    )

    alpha: float = parameter(
        0.08, "weight of the agreement among centred keys; 0: without", "authors' configuration", "[0, inf)"
    )
    solver: str = parameter(
        "polar", "how the rotation is found: Newton-Schulz steps or exactly", "authors' code", ("polar", "svd")
    )
    steps: int = parameter(5, "Newton-Schulz steps of solver 'polar'", "authors' code", "[0, inf)")
    arch: str = parameter(
        "reduced", "'reduced' drops residual and FFN, 'vanilla' keeps both", "authors' code", ("reduced", "vanilla")
    )

    @property
    def residual_and_ffn(self) -> tuple[bool, bool]:
        """Neither in the reduced last block, both in the vanilla one."""
        return self.arch == "vanilla", self.arch == "vanilla"

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the attention of queries to rotated keys and among centred keys."""
        return self.weigh(tokens.qkv(tokens.depth), values, tokens.prefix)

    def weigh(
        self, qkv: tuple[Tensor, Tensor, Tensor], values: Tensor | None = None, prefix: int = 1
    ) -> Float[Tensor, "B H T d"]:
        """`mix` of any queries and keys.

        Args:
            qkv: Queries, keys and values, each (B, heads, T, d).
            values: What is weighted, where it is not v.
            prefix: Number of tokens in front of the patches, which do not count in the centring.
        """
        q, k, v = qkv
        values = v if values is None else values
        centred_q, centred_k = _centre(q.float(), k.float(), prefix)
        rotation = self.rotation(centred_k.mT @ centred_q)
        # q (k R)^T is (q R^T) k^T, and from the keys of kc kc^T the mean may stay on: it adds the same to a whole row.
        queries = q.float() @ rotation.mT + self.alpha * centred_k
        return F.scaled_dot_product_attention(queries.to(values.dtype), k.to(values.dtype), values)

    def rotation(self, covariance: Float[Tensor, "B H d d"]) -> Float[Tensor, "B H d d"]:
        """The polar factor R = C (C^T C)^(-1/2) of the cross-covariance C of keys and queries, or its approximation."""
        if self.solver == "svd":
            u, _, vt = torch.linalg.svd(covariance)
            return u @ vt
        gram = covariance.mT @ covariance
        size = gram.flatten(-2).norm(dim=-1).clamp_min(1e-6)[..., None, None]
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        y, z = gram / size + 1e-6 * eye, eye.expand_as(gram)
        for _ in range(self.steps):
            half = (3 * eye - z @ y) / 2
            y, z = y @ half, half @ z
        return covariance @ z / size.sqrt()


def _centre(q: Float[Tensor, "B H T d"], k: Float[Tensor, "B H T d"], prefix: int) -> tuple[Tensor, Tensor]:
    """Queries and keys less their means, in which a patch weighs as its query is long and other tokens not at all."""
    weights = q.norm(dim=-1, keepdim=True)  # (B, H, T, 1)
    weights = torch.cat([torch.zeros_like(weights[:, :, :prefix]), weights[:, :, prefix:]], dim=2)
    weights = weights / (weights.sum(2, keepdim=True) + 1e-6)
    return q - (weights * q).sum(2, keepdim=True), k - (weights * k).sum(2, keepdim=True)
