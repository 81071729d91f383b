"""Scores at the pixels of a window, made a few rows at a time, and CLIPtrase's two ways to name the regions of one.

At 847 queries the scores of a window of 224 x 224 pixels take 170 MB, and a picture may have dozens of windows; what
they are made from takes less than a megabyte.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovss.windows import bilinear_matrix, bilinear_taps

STRIP_BYTES = 2**26
"""Bytes of scores that are made at a time; what a row holds does not depend on it."""


class WindowScores:
    """Scores of one window, enlarged bilinearly to its pixels.

    Enlarging is written as products and sums of single elements, so that a pixel has the same scores to the last bit
    whichever rows and queries it is made with.

    Args:
        scores: Scores of the queries at patch resolution, or at the pixels already.
        size: Height H and width W of the window in pixels.

    Attributes:
        coefficients: Where the queries are mixtures of few maps, their weights (Q, K); else None.
    """

    coefficients: Float[Tensor, "Q K"] | None = None

    def __init__(self, scores: Float[Tensor, "Q h w"], size: tuple[int, int]) -> None:
        self.scores = scores
        self.size = size

    @cached_property
    def _taps(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Lower and upper sample and the upper one's weight, for rows and for columns."""
        found = [bilinear_taps(*lengths) for lengths in zip(self.size, self.scores.shape[1:], strict=True)]
        device = self.scores.device
        return [(low.to(device), high.to(device), weight.float().to(device)) for low, high, weight in found]

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """Maps in some rows of pixels: one per query, or those that `coefficients` mixes.

        Args:
            wanted: Which rows.
            queries: Which queries; has no effect on maps that are to be mixed.
        """
        if self.scores.shape[1:] == self.size:
            return self.scores[queries, wanted]
        (low, high, weight), (left, right, share) = self._taps
        low, high, down = low[wanted], high[wanted], weight[wanted, None]
        start, stop = int(low.min()), int(high.max()) + 1
        part = self.scores[queries, start:stop]
        # Columns first, while there are few rows: whole rows are then taken, which is much faster than elements.
        part = part.index_select(2, left) * (1 - share) + part.index_select(2, right) * share
        return (part.index_select(1, low - start) * (1 - down)).add_(part.index_select(1, high - start).mul_(down))

    def strips(self) -> Iterator[Int[Tensor, " n"]]:
        """Row numbers from top to bottom, so many at a time that a strip of all queries keeps to `STRIP_BYTES`."""
        rows = torch.arange(self.size[0], device=self.scores.device)
        yield from rows.split(max(1, STRIP_BYTES // (4 * len(self.scores) * self.size[1])))

    def full(self) -> Float[Tensor, "Q H W"]:
        """All scores at all pixels."""
        maps = self.rows(torch.arange(self.size[0], device=self.scores.device))
        return maps if self.coefficients is None else (self.coefficients @ maps.flatten(1)).unflatten(1, self.size)


class RegionMeans(WindowScores):
    """Each pixel has the mean scores of its region.

    Args:
        scores: See `WindowScores`.
        region: Region of each pixel, counted from 0.
    """

    def __init__(self, scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"]) -> None:
        super().__init__(scores, (region.shape[0], region.shape[1]))
        self.region = region
        numbers = region.cpu()  # not every device has double precision
        means = [self._mean(numbers == number) for number in range(int(numbers.max()) + 1)]
        self.coefficients = torch.stack(means, dim=1)

    def _mean(self, inside: Bool[Tensor, "H W"]) -> Float[Tensor, " Q"]:
        """Mean over the pixels of a region, taken at patch resolution by weighing the patches."""
        weights = inside.double() / inside.sum().clamp_min(1)
        if self.scores.shape[1:] != self.size:
            down, across = (bilinear_matrix(*lengths) for lengths in zip(self.size, self.scores.shape[1:], strict=True))
            weights = down.T @ weights @ across
        return self.scores.flatten(1) @ weights.flatten().to(self.scores.dtype).to(self.scores.device)

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """One map per region: 1 inside, 0 outside."""
        assert self.coefficients is not None
        numbers = torch.arange(self.coefficients.shape[1], device=self.region.device)
        return (self.region[wanted] == numbers[:, None, None]).to(self.scores.dtype)


class RegionVotes(WindowScores):
    """Each region has the class that most of its pixels have.

    Everywhere in a region the best query of its class changes places with the best query of all (and leads by the
    smallest step that the number format knows, so that a tie cannot undo the vote).

    Args:
        scores: See `WindowScores`.
        region: Region of each pixel, counted from 0.
        query_class: Class of each query; None: each query is a class of its own. Pixels vote for classes.
    """

    def __init__(
        self, scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"], query_class: Sequence[int] | None = None
    ) -> None:
        super().__init__(scores, (region.shape[0], region.shape[1]))
        owner = torch.arange(len(scores)) if query_class is None else torch.tensor(query_class)
        owner = owner.to(scores.device)
        best = [super(RegionVotes, self).rows(rows).max(dim=0) for rows in self.strips()]
        top, self._first = torch.cat([one.values for one in best]), torch.cat([one.indices for one in best])
        count, classes = int(region.max()) + 1, int(owner.max()) + 1
        votes = torch.bincount((region * classes + owner[self._first]).flatten(), minlength=count * classes)
        elected = votes.view(count, classes).argmax(dim=1)[region]  # (H, W)
        self._outvoted = elected != owner[self._first]  # (H, W) pixels that change their class
        self._winner, self._value = torch.zeros_like(self._first), torch.zeros_like(top)
        self._highest = torch.nextafter(top, torch.full_like(top, torch.inf))
        for rows in self.strips():
            changed = self._outvoted[rows]
            if not changed.any():
                continue
            pixels = super().rows(rows)[:, changed]  # (Q, P)
            others = owner[:, None] != elected[rows][changed]
            found = pixels.masked_fill_(others, -torch.inf).max(dim=0)
            row, column = changed.nonzero(as_tuple=True)
            self._value[rows[row], column], self._winner[rows[row], column] = found.values, found.indices

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """Scores after the vote."""
        start, stop, _ = queries.indices(len(self.scores))
        values = super().rows(wanted, queries)
        for place, score in ((self._first, self._value), (self._winner, self._highest)):
            query = place[wanted] - start
            row, column = (self._outvoted[wanted] & (query >= 0) & (query < stop - start)).nonzero(as_tuple=True)
            values[query[row, column], row, column] = score[wanted][row, column]
        return values


def name_by_mean(scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"]) -> Float[Tensor, "Q H W"]:
    """Scores at the pixels after `RegionMeans`."""
    return RegionMeans(scores, region).full()


def name_by_vote(
    scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"], query_class: Sequence[int] | None = None
) -> Float[Tensor, "Q H W"]:
    """Scores at the pixels after `RegionVotes`."""
    return RegionVotes(scores, region, query_class).full()
