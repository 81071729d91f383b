"""What a method would say if its last block knew which patches belong together: attention kept within true classes.

A method's attention is its mix applied to the identity; of methods that run several blocks on a path of their own, the
mix of each of these, and of methods that mix values several times (two passes, several blocks under one attention),
each of these mixes. Of each patch's row the patches of other classes, and all tokens that are no patches, are set to
zero, and what is left is scaled to the sum that the row had. Everything before and after the mix stays as it is: where
a method averages patches in front of its last block or behind it, other classes still come in there.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone import Backbone, Companion, JoinedTokens, Tokens
from ovss.backbone.devices import to_device
from ovss.methods import Method
from ovss.segment.scorer import BackbonePass, Scorer
from ovss.segment.windowed import WindowedImage

__all__ = ["PlaceScorer", "TrueImage", "keep_within", "majority", "why_not", "within_classes"]

_LEAST = 1e-6
"""Share of a row's sum below which nothing of it is left within the class; the patch then attends to itself."""


def majority(labels: Int[Tensor, "*B h w"], cell: int, classes: int) -> Int[Tensor, "*B rows columns"]:
    """Most frequent class of each cell of a grid, the lowest one of several; -1 where no pixel has a class.

    Args:
        labels: Classes of pixels, 0..classes-1; -1: none. Pixels beyond the last whole cell are left out.
        cell: Side of a cell in pixels.
        classes: Number of classes C.
    """
    rows, columns = labels.shape[-2] // cell, labels.shape[-1] // cell
    cut = labels[..., : rows * cell, : columns * cell].unflatten(-1, (columns, cell)).unflatten(-3, (rows, cell))
    flat = cut.transpose(-3, -2).flatten(-2)  # (..., rows, columns, cell * cell)
    votes = torch.zeros(*flat.shape[:-1], classes + 1, dtype=torch.int32, device=labels.device)
    votes.scatter_add_(-1, flat.long() + 1, torch.ones_like(flat, dtype=torch.int32))
    known = votes[..., 1:]
    return torch.where(known.any(-1), known.argmax(-1), -1)


def keep_within(attention: Float[Tensor, "B H T T"], classes: Int[Tensor, "B N"]) -> Float[Tensor, "B H T T"]:
    """Attention of patches kept within their class.

    Args:
        attention: Rows of any sum, tokens that are no patches first.
        classes: Class of each patch; those of -1 belong together.

    Returns:
        Rows of the same sums; rows of other tokens are unchanged.

    Example:
        >>> rows = torch.tensor([[0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [0.375, 0.5, 0.125]])[None, None]
        >>> keep_within(rows, torch.tensor([[0, 1, 0]]))[0, 0].tolist()
        [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.75, 0.0, 0.25]]
    """
    first = attention.shape[-1] - classes.shape[-1]
    same = (classes[:, :, None] == classes[:, None])[:, None]  # (B, 1, N, N)
    rows = attention[..., first:, :].float()
    total = rows.sum(-1, keepdim=True)
    kept = rows[..., first:] * same
    left = kept.sum(-1, keepdim=True)
    alone = left.abs() <= _LEAST * total.abs()
    scaled = torch.where(alone, torch.eye(kept.shape[-1], device=kept.device) * total, kept * (total / left))
    changed = F.pad(scaled, (first, 0)).to(attention.dtype)
    return torch.cat([attention[..., :first, :], changed], dim=-2)


class _Within(Method):
    """Comes before a method's class in the order of resolution; see `within_classes`."""

    _classes: Int[Tensor, "B N"] | None

    def mix(self, tokens: Tokens, values: Tensor | None = None, **options: Any) -> Float[Tensor, "B H T d"]:
        """The method's mix, kept within classes; where only some rows are asked for, as it is."""
        if "rows" in options:
            return super().mix(tokens, values, **options)
        skipped = tokens.prefix if self.patches_only else 0
        v = tokens.qkv(tokens.depth)[2][:, :, skipped:] if values is None else values
        return self._kept(lambda identity: super(_Within, self).mix(tokens, identity, **options), v)

    def mix_block(self, tokens: Tokens, block: int, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """The mix of a block of the method's own path, kept within classes."""
        v = tokens.qkv(block)[2] if values is None else values
        return self._kept(lambda identity: super(_Within, self).mix_block(tokens, block, identity), v)

    def apply_mix(self, mix: Callable[[Tensor], Tensor], values: Tensor) -> Float[Tensor, "B H T d"]:
        """One of several mixes, kept within classes."""
        return self._kept(mix, values)

    def _kept(self, mix: Callable[[Tensor], Tensor], values: Float[Tensor, "B H T d"]) -> Float[Tensor, "B H T d"]:
        assert self._classes is not None
        size = values.shape[2]
        identity = torch.eye(size, dtype=values.dtype, device=values.device).expand(*values.shape[:2], size, size)
        return keep_within(mix(identity), self._classes) @ values


@cache
def _within(kind: type[Method]) -> type[Method]:
    return type(kind.__name__, (_Within, kind), {"__module__": kind.__module__})


def within_classes(method: Method, classes: Int[Tensor, "B N"] | None) -> Method:
    """A method whose mix is kept within classes.

    Args:
        method: One that `why_not` has nothing against.
        classes: Class of each patch of the pass that it is to read; -1: none. None: given later.
    """
    changed = copy.copy(method)
    object.__setattr__(changed, "__class__", type(method) if isinstance(method, _Within) else _within(type(method)))
    object.__setattr__(changed, "_classes", classes)
    return changed


def why_not(method: Method, companion: Companion | None = None) -> str:
    """Why a method's attention cannot be kept within classes; empty where it can.

    Args:
        method: The method.
        companion: Second network of the methods that use one.
    """
    if method.uses_companion and companion is not None:
        return "its attention is among the patches of another network"
    if method.applies_mixes or type(method).mix_block is not Method.mix_block:
        return ""
    if type(method).mix is Method.mix:
        return "it has no single attention map in its last block"
    return "" if method.mixes_once else "its patches come from more than the mix of its last block"


@dataclass(frozen=True)
class TrueImage(WindowedImage):
    """An image with its ground truth, which windows are cut from as they are from the pixels.

    Attributes:
        truth: Class of each pixel of `seen` plus one (H', W'), float32; 0: none.
    """

    truth: Float[Tensor, "H W"]

    @classmethod
    def of(cls, image: WindowedImage, labels: Int[Tensor, "H W"]) -> "TrueImage":
        """An image with ground truth at the size of its label map.

        Args:
            image: The image.
            labels: Its classes; -1: none.
        """
        size = (image.seen.shape[1], image.seen.shape[2])
        truth = F.interpolate((labels + 1).float()[None, None], size=size, mode="nearest-exact")[0, 0]
        return cls(image.image, image.seen, image.normalise, image.rows, image.columns, truth)

    def on(self, device: torch.device) -> Self:
        """See `WindowedImage.on`."""
        return replace(super().on(device), truth=to_device(self.truth, device))

    def crop(self, window: int) -> Float[Tensor, "4 h w"]:
        """Pixels of one window with its padding, and their classes plus one as a fourth channel."""
        return torch.cat([super().crop(window), self.crop_truth(window)[None]])

    def crop_truth(self, window: int) -> Float[Tensor, "h w"]:
        """Classes plus one of the pixels of one window; 0 in its padding."""
        return self._cut(self.truth[None], window)[0]


class PlaceScorer(Scorer):
    """A scorer that scores methods a second time, with their attention kept within true classes.

    It takes images with their ground truth (`TrueImage`).

    Args:
        backbone: See `Scorer`.
        methods: See `Scorer`.
        restricted: Labels of the methods to score again, with the label of those scores.
        *arguments: See `Scorer`.
        **options: See `Scorer`.

    Raises:
        InputError: See `Scorer`.
    """

    def __init__(
        self,
        backbone: Backbone,
        methods: Mapping[str, Method],
        restricted: Mapping[str, str],
        *arguments: Any,
        **options: Any,
    ) -> None:
        again = {new: within_classes(methods[label], None) for label, new in restricted.items()}
        super().__init__(backbone, {**methods, **again}, *arguments, **options)
        self._classes = len(self.vocabulary.classes)

    def _encode(self, images: Sequence[TrueImage], chosen: Sequence[tuple[int, int]]) -> BackbonePass:  # pyright: ignore[reportIncompatibleMethodOverride]
        truth = torch.stack([images[number].crop_truth(window) for number, window in chosen]).round().long() - 1
        classes = majority(truth, self.backbone.patch_size, self._classes).flatten(1)
        return super()._encode(images, chosen)._replace(classes=classes)

    def _patch_scores(
        self, method: Method, passes: Sequence[BackbonePass], joined: JoinedTokens | None
    ) -> Float[Tensor, "B Q h w"]:
        if isinstance(method, _Within) and joined is not None:
            known = [one.classes for one in passes if one.classes is not None]
            method = within_classes(method, torch.cat(known).flatten()[None])
        return super()._patch_scores(method, passes, joined)

    def _scores_of(self, method: Method, one: BackbonePass) -> Float[Tensor, "B Q h w"]:
        return super()._scores_of(within_classes(method, one.classes) if isinstance(method, _Within) else method, one)
