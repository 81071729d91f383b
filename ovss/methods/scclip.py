"""SC-CLIP (Bai et al., IEEE TIP 2025): CLIP calibrated by its own middle blocks.

A few anomaly tokens draw all attention; they are found and repaired from their neighbours. Middle blocks still know
which patches belong together: their similarities smooth the last block before and after, enter its attention, and a
second pass over their sum brings back local detail.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import (
    DETECTORS,
    aggregation_weights,
    attend,
    cosine_map,
    find_anomalies,
    repair,
    similarity_attention,
    spread,
)
from ovss.methods.base import Method, Paper, check_block
from ovss.methods.parameters import parameter
from ovss.methods.registry import register
from ovss.methods.two_pass import (
    LAYERS,
    added_cls,
    calibration_blocks,
    cls_weight_parameter,
    fuse,
    fused_kv,
    merge_both,
    post_aggregate,
)

__all__ = ["ScClip"]


@register
@dataclass(frozen=True)
class ScClip(Method):
    """Anomaly repair, similarity-enhanced attention, aggregation and a second pass over fused middle blocks.

    A model without class token has nothing to add to every patch; it is refused unless `w_cls` is 0.
    """

    name: ClassVar[str] = "scclip"
    applies_mixes: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation",
        authors="Sule Bai, Yong Liu, Yifei Han, Haoji Zhang, Yansong Tang, Jie Zhou, Jiwen Lu",
        venue="IEEE TIP 2025",
        arxiv="2411.15869",
        support="TF-SF",
        layers=LAYERS,
        deviations=(
            "rows and columns of a grid that is not square are kept apart; the authors' code takes one for the other "
            "there and repairs the wrong patches",
            "every statistic is per image, so batches are allowed; the authors' code runs one image at a time",
            "grids of fewer patches than neighbours, on which the authors' code does not run, use all other patches as "
            "neighbours; outlier factors within 1e-5 of each other count as equal there",
            "a token always attends to itself, which matters only where all tokens of an image coincide",
        ),
    )

    beta: float = parameter(0.4, "cosine from which patches are aggregated", "paper, implementation details")
    w_cls: float | None = cls_weight_parameter()
    detector: str = parameter("kdist", "score that finds anomaly tokens", "authors' code", DETECTORS)
    neighbours: int = parameter(30, "neighbours k of the detector, at most N - 1 are used", "authors' code", "[1, inf)")
    contamination: float = parameter(
        0.05, "fraction of the patches called anomalous", "paper, implementation details", "(0, 0.5]"
    )
    mid_block: int | None = parameter(
        None,
        "block p whose output gives the similarities; None: 9 of 12, 17 of 24",
        "paper, implementation details",
        "[1, inf)",
    )
    post_block: int | None = parameter(
        None,
        "block r whose output gives the post-aggregation; None: 4 of 12, 7 of 24",
        "paper, implementation details",
        "[1, inf)",
    )
    fused_blocks: tuple[int, ...] | None = parameter(
        None,
        "blocks whose outputs are summed for the second pass; None: 4..10 of 12, 9..19 of 24",
        "paper, implementation details",
        "[1, inf)",
    )
    repair: bool = parameter(True, "replace anomaly tokens by the mean of their neighbours", "paper, ablation")
    enhance: bool = parameter(True, "mix the similarities into the attention", "paper, ablation")
    aggregate: bool = parameter(True, "aggregate at all: before, after and in the second pass", "paper, ablation")
    aggregate_pre: bool = parameter(True, "aggregate the input of the last block", "paper, ablation")
    aggregate_post: bool = parameter(True, "aggregate the output of the last block, in both passes", "paper, ablation")
    two_pass: bool | str = parameter(
        True,
        "second pass over the fused blocks; 'sum': one pass over the sum of both inputs",
        "paper, ablation",
        ("sum",),
    )

    def __post_init__(self) -> None:
        """Check the values, and that there is something to fuse.

        Raises:
            InputError: A value is outside its domain.
        """
        super().__post_init__()
        if self.fused_blocks == ():
            raise InputError("scclip: fused_blocks=() is empty; use two_pass=False for a single pass")

    def blocks(self, depth: int) -> tuple[int, int, tuple[int, ...]]:
        """Blocks p, r and the fused ones at a depth.

        Raises:
            InputError: A chosen block does not exist.
        """
        mid, post, fused = calibration_blocks(depth)
        mid = check_block(self.name, "mid_block", self.mid_block or mid, depth)
        post = check_block(self.name, "post_block", self.post_block or post, depth)
        fused = tuple(check_block(self.name, "fused_blocks", block, depth) for block in self.fused_blocks or fused)
        return mid, post, fused

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the input of the last block, blocks p and r, the fused blocks where they are used."""
        mid, post, fused = self.blocks(depth)
        return frozenset({depth - 1, mid, post, *(fused if self.two_pass else ())})

    @property
    def patches_only(self) -> bool:
        """CLS is dropped before the attention."""
        return True

    def prepare(self, tokens: Tokens) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N N"]]:
        """Patches that enter the last block, repaired and aggregated, and their similarities M in block p."""
        mid, _, _ = self.blocks(tokens.depth)
        x = tokens.patches(tokens.depth - 1).float()
        middle = tokens.patches(mid).float()
        if self.repair:
            anomalous = find_anomalies(x, self.detector, self.neighbours, self.contamination)
            x, middle = repair(x, anomalous, tokens.grid), repair(middle, anomalous, tokens.grid)

        similarity = cosine_map(middle)  # (B, N, N)
        if self.aggregate and self.aggregate_pre:
            x = aggregation_weights(similarity, self.beta) @ x
        return x, similarity

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H N d"]:
        """Values under the attention of the first pass; the second pass and post-aggregation come after it."""
        x, similarity = self.prepare(tokens)
        enhancement = similarity_attention(similarity) if self.enhance else None
        return self.weigh(tokens.block(tokens.depth).kv(x.to(tokens.backbone.dtype)), enhancement, values)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """Patches after both passes and post-aggregation."""
        _, post, fused = self.blocks(tokens.depth)
        last = tokens.hidden(tokens.depth - 1)
        add = partial(added_cls, self.name, tokens, self.w_cls)
        x, similarity = self.prepare(tokens)
        enhancement = similarity_attention(similarity) if self.enhance else None
        if self.two_pass:
            fusion = fuse(tokens, fused)  # (B, T, D)
            cls = add(last, fusion)
            x = x + fusion[:, tokens.prefix :] if self.two_pass == "sum" else x
        else:
            cls = add(last)
        block = tokens.block(tokens.depth)
        mixed = self._mixed(block.kv(x.to(tokens.backbone.dtype)), enhancement)
        if self.two_pass and self.two_pass != "sum":
            y = merge_both(tokens, mixed, self._mixed(fused_kv(tokens, fused), enhancement))
        else:
            y = block.merge(mixed).float()
        y = y + cls
        if self.aggregate and self.aggregate_post:
            y = post_aggregate(tokens, y, post, self.beta)
        return y.to(tokens.backbone.dtype)

    def _mixed(self, kv: tuple[Tensor, Tensor], enhancement: Tensor | None) -> Float[Tensor, "B H N d"]:
        return self.apply_mix(partial(self.weigh, kv, enhancement), kv[1])

    @staticmethod
    def weigh(
        kv: tuple[Tensor, Tensor], enhancement: Tensor | None, values: Tensor | None = None
    ) -> Float[Tensor, "B H N d"]:
        """Values of the patches, CLS left out, under the attention among keys and that of the similarities."""
        k, v = kv[0], kv[1] if values is None else values
        mixed = attend((k, k, v), "kk")
        return mixed if enhancement is None else (mixed + spread(enhancement, v)) / 2
