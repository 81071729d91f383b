"""GLA-CLIP (CVPR 2026), its CLIP-only form: all windows of an image share keys and values in the last block.

A window alone sees a part of an object only. Here the queries of each window meet the patches of all windows of the
image. Each patch looks for its like in a few rounds: it starts from the mean of its surroundings and goes on with the
mean of what it found. The fewer like it there are, the sharper it looks.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.methods.base import Method, Paper, unit
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["GlaClip"]

ENTRIES = 2**23
"""Similarities held at a time; rows of the attention are made in chunks of about so many."""
_TIE = 1e-4
"""Logits that count as equal."""


@register
@dataclass(frozen=True)
class GlaClip(Method):
    """A = softmax(g (s - b mean(s))) of what each patch found among all windows; no residual, no FFN."""

    name: ClassVar[str] = "glaclip"
    in_all: ClassVar[bool] = False
    paper: ClassVar[Paper] = Paper(
        title="Looking Beyond the Window: Global-Local Aligned CLIP for Training-free Open-Vocabulary Semantic "
        "Segmentation",
        authors="ByeongCheol Lee, Hyun Seok Seong, Sangeek Hyun, Gilhan Park, WonJun Moon, Jae-Pil Heo",
        venue="CVPR 2026",
        arxiv="2603.23030",
        deviations=(
            "the ClearCLIP form, which needs no second model; the paper's main results are on ProxyCLIP",
            "the factor of the mean does not follow the number of windows (window_beta=False): in the authors' code "
            "that form does not run with it",
            "the threshold is 0.55, what the authors' code runs with; its script sets 0.6 without passing it on",
            "where no logit is positive, all within 1e-4 of the largest are kept; in the authors' code rounding "
            "chooses one",
            "in float32; the authors' code computes similarities in half precision",
            "evaluation and segmentation score each window by itself, for which this is the form with one window",
        ),
    )

    positive: float = parameter(0.55, "cosine above which patches count as alike", "authors' code", "[-1, 1]")
    rounds: int = parameter(2, "how often the alike are looked for", "authors' code", "[0, inf)")
    size_gamma: bool = parameter(True, "look the sharper, the fewer are alike; else 3", "paper")
    window_beta: bool = parameter(False, "take off the more of the mean, the more windows; else 1.2", "authors' code")

    @property
    def patches_only(self) -> bool:
        """CLS is dropped."""
        return True

    def mix(
        self, tokens: Tokens, values: Tensor | None = None, offsets: Int[Tensor, "B 2"] | None = None
    ) -> Float[Tensor, "B H N d"]:
        """Values under the attention of each window to all windows of its image.

        Args:
            tokens: One backbone pass.
            values: Values of the patches, (B, heads, N, any width); None: those that the last block projects.
            offsets: See `patch_embeddings`.
        """
        q, _, v = (part[:, :, 1:] for part in tokens.qkv(tokens.depth))
        values = v if values is None else values
        queries = q.float().transpose(1, 2).flatten(2)  # (B, N, D)
        if offsets is None:
            alone = torch.zeros(1, 2, dtype=torch.long)
            pairs = zip(queries.split(1), values.split(1), strict=True)
            return torch.cat([self._mix(tokens, one, alone, other) for one, other in pairs])
        if tuple(offsets.shape) != (tokens.batch, 2):
            raise InputError(f"glaclip: offsets must be ({tokens.batch}, 2), not {tuple(offsets.shape)}")
        return self._mix(tokens, queries, offsets, values)

    def _mix(self, tokens: Tokens, queries: Tensor, offsets: Tensor, values: Tensor) -> Tensor:
        """Values (B, heads, N, d) of all windows of one image, mixed."""
        windows, heads, patches, _ = values.shape
        keys = unit(queries.flatten(0, 1))  # (B * N, D)
        starts = surroundings(queries, tokens.grid, offsets.to(queries.device), tokens.backbone.patch_size)
        pool = values.transpose(1, 2).flatten(2).flatten(0, 1)  # (B * N, heads * d)
        chunk = max(1, ENTRIES // len(keys))
        mixed = []
        for first in range(0, len(keys), chunk):
            maps = self.attention(starts[first : first + chunk], keys, first, windows)
            mixed.append(maps.to(pool.dtype) @ pool)
        return torch.cat(mixed).view(windows, patches, heads, -1).transpose(1, 2)

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
            lonely = ~alike.any(dim=1, keepdim=True)
            alike.scatter_add_(1, own, lonely.float())
            count = alike.sum(1, keepdim=True)
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
        return unit(tokens.read_out(tokens.block(tokens.depth).merge(self.mix(tokens, offsets=offsets))))


def surroundings(
    queries: Float[Tensor, "B N D"], grid: tuple[int, int], offsets: Int[Tensor, "B 2"], patch: int
) -> Float[Tensor, "B*N D"]:
    """Mean of the queries at the same place of the image in any window and of the neighbours in the same window.

    Two patches are at one place only where their first pixels are the same.
    """
    rows, columns = (torch.arange(side, device=queries.device) * patch for side in grid)
    y = (offsets[:, :1] + rows)[:, :, None].expand(-1, *grid).flatten()
    x = (offsets[:, 1:] + columns)[:, None].expand(-1, *grid).flatten()
    _, place = torch.unique(torch.stack([y, x]), dim=1, return_inverse=True)
    flat = queries.flatten(0, 1)
    places = int(place.max()) + 1
    same = flat.new_zeros(places, flat.shape[1]).index_add_(0, place, flat)[place]
    count = torch.bincount(place, minlength=places)[place][:, None]
    maps = torch.cat([queries, torch.ones_like(queries[..., :1])], dim=-1).mT.unflatten(-1, grid)  # and who is there
    around = 9 * F.avg_pool2d(maps, 3, stride=1, padding=1) - maps
    around = around.flatten(2).mT.flatten(0, 1)
    return (same + around[:, :-1]) / (count + around[:, -1:])
