"""Regions of CLIPtrase: which pixels of a window belong together, and one name for each of them.

Everything that naming regions needs is here; a method that wants it gives a `RegionNaming` as its `regions`. Names are
given at the pixels, and at 847 queries the scores of a window of 224 x 224 pixels take 170 MB, of which an image may
have dozens. So scores are made a few rows at a time from what takes less than a megabyte.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients.clusters import (
    cluster,
    cluster_maps,
    clustering_parameters,
    denoise,
    self_correlation,
    smooth_maps,
)
from ovss.ingredients.interpolation import bilinear_matrix, bilinear_taps

NAMINGS = ("vote", "mean")

STRIP_BYTES = 2**26
"""Bytes of scores that are made at a time; what a row holds does not depend on it."""


def best_query(scores: Float[Tensor, "Q ..."]) -> tuple[Float[Tensor, "..."], Int[Tensor, "..."]]:
    """Highest score of each place and the query that has it, the first of equal ones: `scores.max(dim=0)`.

    Where queries come first torch looks for the index element by element; this takes a quarter of its time.

    Args:
        scores: Finite scores, or -inf.
    """
    top, count = scores.amax(0), len(scores)
    from_last = torch.arange(count, 0, -1, dtype=torch.int32, device=scores.device)
    return top, count - ((scores == top) * from_last.view(-1, *[1] * top.ndim)).amax(0).long()


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
        best = [best_query(super(RegionVotes, self).rows(rows)) for rows in self.strips()]
        top, self._first = (torch.cat(parts) for parts in zip(*best, strict=True))
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
            # Eight times as fast as a mask: whole planes are gone through one by one.
            pixels = super().rows(rows).flatten(1).index_select(1, changed.flatten().nonzero().squeeze(1))  # (Q, P)
            others = owner[:, None] != elected[rows][changed]
            row, column = changed.nonzero(as_tuple=True)
            place = (rows[row], column)
            self._value[place], self._winner[place] = best_query(pixels.masked_fill_(others, -torch.inf))

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """Scores after the vote."""
        start, stop, _ = queries.indices(len(self.scores))
        values = super().rows(wanted, queries)
        for place, score in ((self._first, self._value), (self._winner, self._highest)):
            query = place[wanted] - start
            row, column = (self._outvoted[wanted] & (query >= 0) & (query < stop - start)).nonzero(as_tuple=True)
            values[query[row, column], row, column] = score[wanted][row, column]
        return values


class WindowStitcher:
    """Windows of an image put together at the pixels of its label map, a few rows at a time.

    Args:
        windows: Scores of each window, row by row of windows, all of one size.
        rows: What each row of pixels of each row of windows contributes to each row of the label map.
        columns: The same for columns.
    """

    def __init__(
        self, windows: Sequence[WindowScores], rows: Float[Tensor, "H h"], columns: Float[Tensor, "W w"]
    ) -> None:
        self.windows = windows
        self.device = windows[0].scores.device
        height, width = windows[0].size
        self._width = len(columns)
        self._rows = rows.to(self.device).split(height, dim=1)
        self._columns = [_column_taps(part) for part in columns.to(self.device).split(width, dim=1)]

    def strip(self, top: int, height: int, queries: slice = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of some rows of the label map.

        Args:
            top: First row.
            height: How many rows.
            queries: Which queries.
        """
        count = len(range(*queries.indices(len(self.windows[0].scores))))
        strip = torch.zeros(height, count, self._width, device=self.device)
        for number, window in enumerate(self.windows):
            row, column = divmod(number, len(self._columns))
            weights = self._rows[row][top : top + height]
            used = weights.any(dim=0).nonzero().squeeze(1)
            if not len(used):
                continue
            reached, taps, shares = self._columns[column]
            maps = window.rows(used, queries)  # (K, used, W)
            widened = torch.stack([maps[:, :, tap] * share for tap, share in zip(taps, shares, strict=True)]).sum(0)
            part = (weights[:, used] @ widened.transpose(0, 1).flatten(1)).unflatten(1, widened.shape[::2])
            if window.coefficients is not None:
                part = window.coefficients[queries] @ part
            strip[:, :, reached] += part
        return strip


def _column_taps(weights: Float[Tensor, "W w"]) -> tuple[slice, Int[Tensor, "k n"], Float[Tensor, "k n"]]:
    """The n columns of the label map that a window reaches, and the one or two of its own columns of pixels that each
    of them is made from, with their weights."""
    found = weights.any(dim=1).nonzero()
    reached = slice(int(found[0]), int(found[-1]) + 1)
    taps = weights[reached].topk(min(2, weights.shape[1]), dim=1)
    return reached, taps.indices.T, taps.values.T


def name_by_mean(scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"]) -> Float[Tensor, "Q H W"]:
    """Scores at the pixels after `RegionMeans`."""
    return RegionMeans(scores, region).full()


def name_by_vote(
    scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"], query_class: Sequence[int] | None = None
) -> Float[Tensor, "Q H W"]:
    """Scores at the pixels after `RegionVotes`."""
    return RegionVotes(scores, region, query_class).full()


def _assign_pixels(maps: Float[Tensor, "K h w"], size: tuple[int, int]) -> Int[Tensor, "H W"]:
    """Cluster of each pixel: the one whose map, enlarged bilinearly, is highest there."""
    enlarged = WindowScores(maps, size)
    return torch.cat([best_query(enlarged.rows(rows))[1] for rows in enlarged.strips()])


def find_regions(
    rows: Float[Tensor, "N N"], grid: tuple[int, int], size: tuple[int, int], eps: float, min_samples: int
) -> Int[Tensor, "H W"] | None:
    """Regions of an image from its denoised self-correlation.

    Args:
        rows: Denoised self-correlation R of the patches.
        grid: Patch rows and columns.
        size: Height and width of the image in pixels.
        eps: DBSCAN's radius.
        min_samples: DBSCAN's smallest neighbourhood of a core point, itself included.

    Returns:
        Region number of each pixel, or None when all patches are noise.
    """
    labels = cluster(rows, eps, min_samples)
    if labels.max() < 0:
        return None
    return _assign_pixels(smooth_maps(cluster_maps(rows, labels, grid)), size)


@dataclass(frozen=True)
class RegionNaming:
    """How the regions of a window are found and named (CLIPtrase).

    Attributes:
        naming: "vote": a region has the class of most of its pixels; "mean": its mean scores. Votes of overlapping
            windows cannot be averaged, so regions have their mean scores there.
        denoise: How CLS is taken out of the self-correlation; see `denoise`.
        eps: DBSCAN's radius; None follows the grid.
        min_samples: DBSCAN's smallest neighbourhood; None follows the grid.
    """

    naming: str
    denoise: str = "code"
    eps: float | None = None
    min_samples: int | None = None

    def correlation(self, tokens: Tokens) -> Float[Tensor, "B N N"]:
        """Denoised self-correlation R of the block before the last one.

        Raises:
            InputError: The model has no class token, and so nothing to clear the self-correlation of.
        """
        if not tokens.backbone.class_token:
            raise InputError(
                "cliptrase clears its regions of what the class token correlates with, and "
                f"{tokens.backbone.name} has none; only methods without regions run on it"
            )
        return denoise(self_correlation(tokens.qkv(tokens.depth - 1)), self.denoise, tokens.prefix)

    def windows(
        self,
        scores: Float[Tensor, "B Q h w"],
        tokens: Tokens,
        size: tuple[int, int],
        query_class: Sequence[int] | None = None,
        overlapping: bool = False,
    ) -> list[WindowScores]:
        """Scores of each window with one name per region; a window without any cluster keeps its scores.

        Args:
            scores: Scores of the queries, of patches or at the pixels already.
            tokens: The backbone pass they come from.
            size: Height and width of the windows in pixels.
            query_class: Class of each query; None: each query is a class of its own.
            overlapping: Whether the windows of the image overlap.
        """
        eps, min_samples = clustering_parameters(tokens.grid)
        eps = eps if self.eps is None else self.eps
        min_samples = min_samples if self.min_samples is None else self.min_samples
        regions = tokens.shared(
            ("regions", self.denoise, eps, min_samples, size),
            lambda: [find_regions(rows, tokens.grid, size, eps, min_samples) for rows in self.correlation(tokens)],
        )
        named: list[WindowScores] = []
        for region, window in zip(regions, scores, strict=True):
            if region is None:
                named.append(WindowScores(window, size))
            elif self.naming == "vote" and not overlapping:
                named.append(RegionVotes(window, region, query_class))
            else:
                named.append(RegionMeans(window, region))
        return named
