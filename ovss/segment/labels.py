"""From query scores to label maps: one softmax over queries, or a sigmoid of each; classes as the best of their words.

Memory is bounded: rows, or queries, are taken a few at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self
from typing import Protocol as Interface

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import constant, tally, to_device, to_host
from ovss.errors import InputError
from ovss.protocols import Protocol
from ovss.segment.pamr import Pamr
from ovss.segment.propagation import Propagation
from ovss.vocabulary import Vocabulary

__all__ = ["Decision", "LabelRule", "ScoreMap", "Words"]

Words = slice | Int[Tensor, " n"]
"""Which queries: a range of them, or their indices."""

STRIP = 16
"""Rows of the final image that are labelled at a time; fixed, so that no result depends on the memory at hand."""
_MANY = 64
"""Queries from which numpy, which looks at several at a time, finds the highest sooner than torch on a processor: at
847 queries in a seventh of the time."""
PAMR_CHUNK = 2**27
"""Bytes of query scores that are refined at a time."""


class _Model(Interface):
    """What a rule takes from the model."""

    @property
    def name(self) -> str: ...

    @property
    def logit_scale(self) -> float: ...

    @property
    def logit_bias(self) -> float | None: ...


@dataclass(frozen=True)
class LabelRule:
    """How query scores become labels.

    Attributes:
        query_class: Class of each query.
        classes: Number of classes.
        scale: Factor of the cosines in the softmax over queries.
        background: Class that uncertain pixels get.
        threshold: Pixels whose best probability is below it become background; None switches the rule off.
        area: A foreground class that covers at most this fraction of the foreground gets no pixel; None switches the
            rule off.
        bias: Added to the scaled cosine of a query, whose sigmoid is its probability; None: softmax over the queries.
    """

    query_class: tuple[int, ...]
    classes: int
    scale: float
    background: int
    threshold: float | None
    area: float | None
    bias: float | None = None

    @classmethod
    def of(cls, vocabulary: Vocabulary, protocol: Protocol, model: _Model) -> "LabelRule":
        """The rule that a protocol and a vocabulary make.

        Args:
            vocabulary: Classes, and the class that each query belongs to.
            protocol: Scale, reading, background rule and area rule.
            model: For the scale and bias of its loss, where the protocol leaves them to it.

        Raises:
            InputError: A sigmoid reading of a model that was trained with a softmax.
        """
        if protocol.reading == "sigmoid" and model.logit_bias is None:
            raise InputError(
                f"protocol '{protocol.name}' reads scores by a sigmoid, and {model.name} was trained with a softmax, "
                'without a bias; use reading = "softmax"'
            )
        return cls(
            query_class=vocabulary.query_class,
            classes=len(vocabulary.classes),
            scale=model.logit_scale if protocol.logit_scale is None else protocol.logit_scale,
            background=vocabulary.background or 0,
            threshold=protocol.threshold if protocol.background in ("threshold", "channel") else None,
            area=protocol.area_rule,
            bias=model.logit_bias if protocol.reading == "sigmoid" else None,
        )

    def chances(self, scores: Float[Tensor, "Q H W"]) -> Float[Tensor, "Q H W"]:
        """Probabilities of cosines, queries first."""
        scaled = scores * self.scale
        return scaled.softmax(dim=0) if self.bias is None else (scaled + self.bias).sigmoid()

    def label(
        self, scores: Float[Tensor, "... Q"], banned: Tensor | None = None, sure: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Best class of each pixel and, where it is asked for, its probability.

        A softmax runs over queries and a class has the probability of its best query, so the best class is that of
        the best query and nothing but the denominator needs an exponential.

        Args:
            scores: Cosines, queries in the last dimension.
            banned: Classes (C,) whose probability is to be zero; None: none of them.
            sure: Whether the probability is asked for.

        Returns:
            Class indices (...) and probabilities (...) or None.
        """
        allowed = scores
        owner = constant(self.query_class, scores.device)
        if banned is not None:
            allowed = scores.masked_fill(banned[owner], float("-inf"))
        best, query = _highest(allowed)
        if not sure:
            return owner[query], None
        if self.bias is not None:
            return owner[query], (best * self.scale + self.bias).sigmoid()
        total = (scores - best.unsqueeze(-1)).mul_(self.scale).exp_().sum(dim=-1)
        return owner[query], 1 / total

    def of_words(self, words: Tensor) -> "LabelRule":
        """The rule for some of the queries alone, as if the others had never been asked for.

        Args:
            words: Their indices (n,), ascending.
        """
        return replace(self, query_class=tuple(self.query_class[index] for index in words.tolist()))

    def small_classes(self, areas: Float[Tensor, " C"]) -> Tensor:
        """Foreground classes (C,) that the area rule leaves out, from their argmax areas in pixels."""
        assert self.area is not None
        foreground = torch.arange(len(areas), device=areas.device) != self.background
        return foreground & (areas <= self.area * areas.where(foreground, 0).sum())


def _highest(scores: Float[Tensor, "... Q"]) -> tuple[Float[Tensor, "..."], Int[Tensor, "..."]]:
    """The highest score of each pixel and its query, the first one of equal ones."""
    if scores.shape[-1] < _MANY or scores.device.type != "cpu" or scores.requires_grad or not scores.is_contiguous():
        found = scores.max(dim=-1)
        return found.values, found.indices
    query = torch.from_numpy(scores.numpy().argmax(axis=-1))
    return scores.gather(-1, query.unsqueeze(-1)).squeeze(-1), query


class Decision(NamedTuple):
    """What an image's scores say.

    Attributes:
        labels: Label map (H, W), int64.
        confidence: Probability of the label (H, W) as `ScoreMap.probabilities` has it, float32; the threshold where
            that made the pixel background.
    """

    labels: Int[Tensor, "H W"]
    confidence: Float[Tensor, "H W"]


@dataclass(frozen=True, kw_only=True)
class ScoreMap(ABC):
    """Query scores of one image under one method, stitched when labels or probabilities are asked for.

    Attributes:
        size: Height and width of the label map in pixels.
        rule: How scores become labels.
        protocol: For PAMR's settings.
        guide: Normalised image (3, H, W) of that size that PAMR follows; None without PAMR.
        propagation: Coarse grid over which the stitched scores are propagated, before PAMR; None: they are not.
        offered: Indices (n,) of the queries that labels are chosen from, ascending; None: all of them.
    """

    size: tuple[int, int]
    rule: LabelRule
    protocol: Protocol
    guide: Float[Tensor, "3 H W"] | None = field(default=None, repr=False)
    propagation: Propagation | None = field(default=None, repr=False)
    offered: Int[Tensor, " n"] | None = field(default=None, repr=False)

    def offering(self, words: Int[Tensor, " n"]) -> Self:
        """The same scores with other words to choose from; those left out enter neither labels nor softmax."""
        return replace(self, offered=to_device(words, self.device))

    def held(self) -> Self:
        """The same scores, for one who asks for them several times: what is dear to make is kept."""
        return self

    @cached_property
    def choice(self) -> LabelRule:
        """The rule for the words that are offered."""
        return self.rule if self.offered is None else self.rule.of_words(self.offered)

    @property
    def words(self) -> Words:
        """The queries that are offered."""
        return slice(None) if self.offered is None else self.offered

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the scores are."""

    @abstractmethod
    def stitched(self, top: int, queries: Words = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of `STRIP` rows of the label map (fewer at its end).

        Args:
            top: First row.
            queries: Which queries.
        """

    @property
    def block_rows(self) -> int:
        """Rows of the label map that `blocks` gives at a time; like `STRIP`, they depend on nothing but sizes."""
        return STRIP

    def blocks(self, top: int) -> Iterator[Float[Tensor, "rows columns Q"]]:
        """Scores of `block_rows` rows of the label map for the words that are offered, some columns at a time."""
        yield self.strip(top, self.words).transpose(1, 2)

    def strip(self, top: int, queries: Words = slice(None)) -> Float[Tensor, "strip Q W"]:
        """As `stitched`, propagated where the protocol asks for it."""
        if self.propagation is None:
            return self.stitched(top, queries)
        rows = slice(top, min(top + STRIP, self.size[0]))
        return self.propagation.enlarge(self._propagated[queries], rows)

    @cached_property
    def _propagated(self) -> Float[Tensor, "Q h w"]:
        """Maps of the coarse grid, of all queries: they are solved for together."""
        assert self.propagation is not None
        return self.propagation.propagate(self.stitched(top) for top in range(0, self.size[0], STRIP))

    @cached_property
    def _refiner(self) -> Pamr:
        """Neighbours' weights of the guide, made once for all chunks of queries."""
        assert self.guide is not None
        return Pamr(self.guide.to(self.device), self.protocol.pamr_dilations)

    def cosines(self, queries: Words = slice(None)) -> Float[Tensor, "Q H W"]:
        """Stitched scores of some queries at the size of the label map, propagated and refined as the protocol says.

        Args:
            queries: Which queries.
        """
        strips = [self.strip(top, queries).transpose(0, 1) for top in range(0, self.size[0], STRIP)]
        full = torch.cat(strips, dim=1)
        del strips
        if self.guide is None:
            return full
        return self._refiner.refine(full, self.protocol.pamr_iterations)

    def labels(self) -> np.ndarray:
        """Label map (H, W), int64."""
        return to_host([self.label_map()])[0]

    def label_map(self) -> Int[Tensor, "H W"]:
        """As `labels`, where the scores are; waits for the device only where the area rule asks what it leaves out."""
        classes, probability = self._ruled(self.rule.threshold is not None)
        if probability is not None and self.rule.threshold is not None:
            classes = classes.masked_fill(probability < self.rule.threshold, self.rule.background)
        return classes

    def decide(self) -> Decision:
        """The label map, and how sure it is, where the scores are."""
        classes, confidence = self._ruled(True)
        assert confidence is not None
        if self.rule.threshold is not None:
            unsure = confidence < self.rule.threshold
            classes = classes.masked_fill(unsure, self.rule.background)
            confidence = confidence.masked_fill(unsure, self.rule.threshold)
        return Decision(classes, confidence)

    def best(self) -> Int[Tensor, "H W"]:
        """Class of the best word of each pixel, before any rule."""
        return self._best(None, False)[0]

    def _ruled(self, sure: bool) -> tuple[Tensor, Tensor | None]:
        """Best class of each pixel after the area rule and, where it is asked for, its probability."""
        classes, probability = self._best(None, sure)
        if self.rule.area is not None:
            areas = tally(classes, self.rule.classes).double()
            banned = self.rule.small_classes(areas)
            if bool(banned.any()):  # a wait is cheaper than labels made twice where once is enough
                classes, probability = self._best(banned, sure)
        return classes, probability

    def _best(self, banned: Tensor | None, sure: bool) -> tuple[Tensor, Tensor | None]:
        if self.guide is not None:
            return self._best_refined(banned)
        classes = torch.empty(self.size, dtype=torch.long, device=self.device)
        chances = torch.empty(self.size, device=self.device) if sure else None
        for top in range(0, self.size[0], self.block_rows):
            left = 0
            for block in self.blocks(top):
                place = (slice(top, top + block.shape[0]), slice(left, left + block.shape[1]))
                left += block.shape[1]
                classes[place], chance = self.choice.label(block, banned, sure)
                if chances is not None and chance is not None:
                    chances[place] = chance
        return classes, chances

    def _best_refined(self, banned: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `_best`, but a chunk of queries at a time over the whole image, because PAMR needs whole maps."""
        chunk = max(1, PAMR_CHUNK // (4 * self.size[0] * self.size[1]))
        owner = constant(self.choice.query_class, self.device)
        best = torch.full(self.size, float("-inf"), device=self.device)
        total = best.clone()
        classes = torch.zeros(self.size, dtype=torch.long, device=self.device)
        for start in range(0, len(owner), chunk):
            queries = slice(start, min(start + chunk, len(owner)))
            words = queries if self.offered is None else self.offered[queries]
            scores = self.cosines(words) * self.rule.scale  # (chunk, H, W)
            total = torch.logaddexp(total, scores.logsumexp(dim=0))
            if banned is not None:
                scores = scores.masked_fill(banned[owner[queries]][:, None, None], float("-inf"))
            top, query = scores.max(dim=0)
            classes = torch.where(top > best, owner[queries][query], classes)
            best = torch.maximum(best, top)
        return classes, (best - total).exp() if self.rule.bias is None else (best + self.rule.bias).sigmoid()

    def probabilities(self) -> Float[Tensor, "C H W"]:
        """Class probabilities: softmax over queries (or the sigmoid of each), maximum over the synonyms of a class.

        A background class without words of its own has the threshold as its constant score; a class whose words are
        not offered has 0. Needs C * H * W floats.
        """
        owner = constant(self.choice.query_class, self.device)
        chances = self.rule.chances(self.cosines(self.words))  # (Q, H, W)
        result = chances.new_zeros(self.rule.classes, *self.size)
        result.scatter_reduce_(0, owner[:, None, None].expand_as(chances), chances, "amax")
        if self.rule.threshold is not None and self.rule.background not in self.rule.query_class:
            result[self.rule.background] = self.rule.threshold
        return result
