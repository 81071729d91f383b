"""GLA-CLIP (CVPR 2026), its CLIP-only form: all windows of an image share keys and values in the last block.

A window alone sees a part of an object only. Here the queries of each window meet the patches of all windows of the
image. Each patch looks for its like in a few rounds: it starts from the mean of its surroundings and continues with
the mean of what it found. The fewer like it there are, the sharper it looks.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone import JoinedTokens, Tokens
from ovss.ingredients import row_chunks, surroundings
from ovss.methods.base import Method, Paper, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["GlaClip"]

_TIE = 1e-4
"""Logits that count as equal."""


@register
@dataclass(frozen=True)
class GlaClip(Method):
    """A = softmax(g (s - b mean(s))) of what each patch found among all windows; no residual, no FFN.

    On models with rotary positions each window stands alone, because their queries hold places within a window.
    """

    name: ClassVar[str] = "glaclip"
    shares_windows: ClassVar[bool] = True
    in_all: ClassVar[bool] = False
    paper: ClassVar[Paper] = Paper(
        title="Looking Beyond the Window: Global-Local Aligned CLIP for Training-free Open-Vocabulary Semantic "
        "Segmentation",
        authors="ByeongCheol Lee, Hyun Seok Seong, Sangeek Hyun, Gilhan Park, WonJun Moon, Jae-Pil Heo",
        venue="CVPR 2026",
        arxiv="2603.23030",
        support="TF-SF",
        deviations=(
            "the ClearCLIP form, which needs no second model; the paper's main results are on ProxyCLIP",
            "the factor of the mean does not follow the number of windows (window_beta=False): in the authors' code "
            "that form does not run with it",
            "the threshold is 0.55, what the authors' code runs with; its script sets 0.6 without passing it on",
            "where no logit is positive, all within 1e-4 of the largest are kept; in the authors' code rounding "
            "chooses one",
            "in float32; the authors' code computes similarities in half precision",
            "windows share only where the protocol says so (windows='shared'), as for any other method",
        ),
    )

    positive: float = parameter(0.55, "cosine above which patches count as alike", "authors' code", "[-1, 1]")
    rounds: int = parameter(2, "how often the alike are looked for", "authors' code", "[0, inf)")
    size_gamma: bool = parameter(True, "look the sharper, the fewer are alike; else 3", "paper")
    window_beta: bool = parameter(False, "take off the more of the mean, the more windows; else 1.2", "authors' code")

    @property
    def mixes_once(self) -> bool:
        """Each patch is read from the mix of all windows of its image."""
        return True

    @property
    def patches_only(self) -> bool:
        """CLS is dropped."""
        return True

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values of the patches under the attention of each to all windows of its image."""
        q, _, v = (part[:, :, tokens.prefix :] for part in tokens.qkv(tokens.depth))
        queries = q.float().transpose(1, 2).flatten(2)  # (B, N, D)
        pairs = zip(queries, v if values is None else values, strict=True)
        return torch.stack([self._mix(tokens, one, other) for one, other in pairs])

    def _mix(self, tokens: Tokens, queries: Float[Tensor, "N D"], values: Float[Tensor, "H N d"]) -> Tensor:
        keys, windows = unit(queries), tokens.windows
        grid = tokens.grid[0] // windows, tokens.grid[1]
        starts = surroundings(queries.unflatten(0, (windows, -1)), grid, tokens.places)
        maps = (self.attention(starts[rows], keys, rows.start, windows) for rows in row_chunks(len(keys), len(keys)))
        return torch.cat([part.to(values.dtype) @ values for part in maps], dim=1)

    def attention(
        self, starts: Float[Tensor, "R D"], keys: Float[Tensor, "K D"], first: int, windows: int
    ) -> Float[Tensor, "R K"]:
        """Attention of some patches to all of the image.

        Args:
            starts: Where these patches start to look from.
            keys: Unit queries of all patches of all windows.
            first: Number of the first of these patches.
            windows: Number of windows.
        """
        own = torch.arange(first, first + len(starts), device=keys.device)[:, None]
        similar, count = unit(starts) @ keys.T, torch.ones(len(starts), 1, device=keys.device)
        for _ in range(self.rounds):
            alike = (similar > self.positive).float()
            count = alike.sum(1, keepdim=True)
            alike.scatter_add_(1, own, (count == 0).float())
            count = count.clamp_min(1)
            similar = unit(alike @ keys) @ keys.T
        sharpness = 1 + 30 / count if self.size_gamma else 3.0
        share = 1 + 0.3 * torch.log(torch.tensor(1.0 + windows)) if self.window_beta else 1.2
        logits = sharpness * (similar - share * similar.mean(1, keepdim=True).clamp_min(0))
        # Where all are alike the largest logit is negative and stays alone; rounding must not choose among equal ones.
        least = (logits.amax(1, keepdim=True) - _TIE).clamp_max(0)
        return torch.softmax(logits.masked_fill(logits < least, -torch.inf), dim=-1)

    def patch_embeddings(self, tokens: Tokens, offsets: Int[Tensor, "B 2"] | None = None) -> Float[Tensor, "B N E"]:
        """Patch embeddings, unit rows, of all windows.

        Args:
            tokens: Pass of all windows of one image.
            offsets: Pixel (y, x) of the image at which each window starts. None: each window is an image of its own.

        Raises:
            InputError: Another number of offsets than of windows.
        """
        if offsets is None:
            return super().patch_embeddings(tokens)
        return super().patch_embeddings(JoinedTokens([tokens], offsets))[0].unflatten(0, (tokens.batch, -1))
