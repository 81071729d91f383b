"""What labels would be if one question were answered by the ground truth: which classes there are, where each one is,
or both. The differences to the labels as they are say where points are lost.

Words used here:
    presence: only the words of classes that the ground truth of the image holds are offered.
    place: attention of the last block is kept within true classes; see `ovss.segment.place`.
    naming: each true region, all pixels of a class, gets one label, from the mean of its scores.
    ceiling: each patch gets the class that most of its pixels have; what no label per patch can pass.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.segment.labels import STRIP, ScoreMap
from ovss.segment.stitching import PatchScores

__all__ = ["NONE", "TrueRegions"]

NONE = -1
"""Label of pixels that have no class."""


@dataclass(frozen=True)
class TrueRegions:
    """The ground truth of one image, to answer questions with.

    Attributes:
        truth: Class of each pixel of the label map (H, W), int64; `NONE`: none.
    """

    truth: Int[Tensor, "H W"]
    _weights: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def classes(self) -> Int[Tensor, " R"]:
        """Classes that the image holds, ascending."""
        found = self.truth.unique()
        return found[found != NONE]

    def with_presence(self, scores: ScoreMap) -> np.ndarray:
        """Label map (H, W) where only the words of the image's classes are offered.

        The scores are those of all words: they are not made anew. Pixels become background by a threshold only where
        the image has background; they all do where no class of the image has words.
        """
        rule, classes = scores.rule, self.classes.tolist()
        words = [index for index, owner in enumerate(rule.query_class) if owner in classes]
        if not words:
            return np.full(scores.size, rule.background, dtype=np.int64)
        if rule.background not in classes:
            scores = replace(scores, rule=replace(rule, threshold=None))
        return scores.offering(torch.tensor(words)).labels()

    def named(self, scores: ScoreMap) -> np.ndarray:
        """Label map (H, W) where each true region has one label; pixels without a class have label 0.

        The label is that of the region's mean cosine with each word, under the threshold of the rule; the rule for
        small classes is left out.
        """
        classes = self.classes
        if not len(classes):
            return np.zeros(scores.size, dtype=np.int64)
        means = self._means(scores)[:, scores.words] if scores.offered is not None else self._means(scores)
        found, chance = scores.choice.label(means)
        if scores.rule.threshold is not None and chance is not None:
            found = found.masked_fill(chance < scores.rule.threshold, scores.rule.background)
        label = torch.zeros(int(classes.max()) + 2, dtype=torch.int64)
        label[classes + 1] = found.cpu()
        return label[self.truth + 1].numpy()

    def per_cell(self, cell: int, size: tuple[int, int], classes: int) -> np.ndarray:
        """Label map (H, W) where each patch has the class of most of its pixels; 0 where none of them has one.

        Patches are counted from the top left corner of the image as the model sees it. A pixel of the label map belongs
        to the patch that holds its centre; what is left of a patch at the border is a patch, too.

        Args:
            cell: Side of a patch in pixels of the image as the model sees it.
            size: Height and width of that image.
            classes: Number of classes C.
        """
        spans = zip(self.truth.shape, size, strict=True)
        rows, columns = (((torch.arange(have) + 0.5) * seen / have).div(cell).long() for have, seen in spans)
        number = rows[:, None] * (int(columns[-1]) + 1) + columns
        votes = torch.zeros(int(number.max()) + 1, classes + 1, dtype=torch.int64)
        ones = torch.ones(number.numel(), dtype=torch.int64)
        votes.view(-1).scatter_add_(0, (number * (classes + 1) + self.truth + 1).flatten(), ones)
        return votes[:, 1:].argmax(1)[number].numpy()

    @cached_property
    def _regions(self) -> Float[Tensor, "R H W"]:
        """What each pixel adds to the mean of each region."""
        inside = (self.truth == self.classes[:, None, None]).float()
        return inside / inside.sum((1, 2), keepdim=True)

    def _means(self, scores: ScoreMap) -> Float[Tensor, "R Q"]:
        """Mean cosine of each region with each query."""
        regions = self._regions
        if scores.guide is not None:
            queries = range(len(scores.rule.query_class))
            parts = [scores.cosines(slice(one, one + 1)).flatten(1).cpu() @ regions.flatten(1).T for one in queries]
            return torch.cat(parts).T
        if isinstance(scores, PatchScores) and scores.propagation is None:
            return self._patch_weights(scores, regions) @ scores.cells.flatten(1).cpu().T
        total = torch.zeros(len(regions), len(scores.rule.query_class))
        for top in range(0, scores.size[0], STRIP):
            strip = scores.strip(top).transpose(0, 1).flatten(1).cpu()  # (Q, strip * W)
            total += regions[:, top : top + STRIP].flatten(1) @ strip.T
        return total

    def _patch_weights(self, scores: PatchScores, regions: Float[Tensor, "R H W"]) -> Float[Tensor, "R hw"]:
        """What each cell of the windows adds to the mean of each region; the same for all methods of one grid."""
        key = tuple(scores.cells.shape[1:])
        if key not in self._weights:
            down, across = scores.matrices
            self._weights[key] = (down.T @ regions @ across).flatten(1)
        return self._weights[key]
