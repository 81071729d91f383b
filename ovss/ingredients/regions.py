"""Regions of CLIPtrase: which pixels of a window belong together, and one name for each of them.

Everything that naming regions needs is here; a method that wants it gives a `RegionNaming` as its `regions`. Names are
given at the pixels, and at 847 queries the scores of a window of 224 x 224 pixels take 170 MB, of which an image may
have dozens. So scores are made a few rows at a time from what takes less than a megabyte.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ovss.backbone import Tokens
from ovss.backbone.devices import constant, tally, to_device, to_host
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

_HOST = torch.device("cpu")
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

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """Maps in some rows of pixels: one per query, or those that `coefficients` mixes.

        Args:
            wanted: Which rows, on the processor: they follow from sizes.
            queries: Which queries; has no effect on maps that are to be mixed.
        """
        device = self.scores.device
        if self.scores.shape[1:] == self.size:
            return self.scores[queries, to_device(wanted, device)]
        height, width = self.scores.shape[1:]
        low, high, weight = (part[wanted] for part in _taps(self.size[0], height, _HOST))
        left, right, share = _taps(self.size[1], width, device)
        start, stop = int(low.min()), int(high.max()) + 1
        part = self.scores[queries, start:stop]
        # Columns first, while there are few rows: whole rows are then taken, which is much faster than elements.
        part = part.index_select(2, left) * (1 - share) + part.index_select(2, right) * share
        low, high, down = (to_device(one, device) for one in (low - start, high - start, weight[:, None]))
        return (part.index_select(1, low) * (1 - down)).add_(part.index_select(1, high).mul_(down))

    def strips(self) -> Iterator[Int[Tensor, " n"]]:
        """Row numbers from top to bottom, so many at a time that a strip of all queries keeps to `STRIP_BYTES`."""
        rows = torch.arange(self.size[0])
        yield from rows.split(max(1, STRIP_BYTES // (4 * len(self.scores) * self.size[1])))

    def full(self) -> Float[Tensor, "Q H W"]:
        """All scores at all pixels."""
        maps = self.rows(torch.arange(self.size[0]))
        return maps if self.coefficients is None else (self.coefficients @ maps.flatten(1)).unflatten(1, self.size)


@lru_cache(maxsize=32)
def _taps(target: int, source: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """`bilinear_taps` in float32 on a device."""
    low, high, weight = bilinear_taps(target, source)
    return to_device(low, device), to_device(high, device), to_device(weight.float(), device)


class RegionMeans(WindowScores):
    """Each pixel has the mean scores of its region.

    Args:
        scores: See `WindowScores`.
        region: Region of each pixel, counted from 0, on the processor: not every device has double precision.
    """

    def __init__(self, scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"]) -> None:
        super().__init__(scores, (region.shape[0], region.shape[1]))
        device = scores.device
        self.region = to_device(region, device)
        weights = [self._weights(region == number) for number in range(int(region.max()) + 1)]
        sent = to_device(torch.stack(weights).to(scores.dtype), device)
        self.coefficients = torch.stack([scores.flatten(1) @ one for one in sent], dim=1)

    def _weights(self, inside: Bool[Tensor, "H W"]) -> Float[Tensor, " hw"]:
        """What each cell of the scores adds to the mean over the pixels of a region."""
        weights = inside.double() / inside.sum().clamp_min(1)
        if self.scores.shape[1:] != self.size:
            down, across = (bilinear_matrix(*lengths) for lengths in zip(self.size, self.scores.shape[1:], strict=True))
            weights = down.T @ weights @ across
        return weights.flatten()

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """One map per region: 1 inside, 0 outside."""
        assert self.coefficients is not None
        numbers = torch.arange(self.coefficients.shape[1], device=self.region.device)
        return (self.region[to_device(wanted, self.region.device)] == numbers[:, None, None]).to(self.scores.dtype)


class RegionVotes(WindowScores):
    """Each region has the class that most of its pixels have.

    Everywhere in a region the best query of its class changes places with the best query of all (and leads by the
    smallest step that the number format knows, so that a tie cannot undo the vote). Making them waits once for the
    device: which pixels change their class is known to the processor from then on.

    Args:
        scores: See `WindowScores`.
        region: Region of each pixel, counted from 0, on the processor.
        query_class: Class of each query; None: each query is a class of its own. Pixels vote for classes.
    """

    def __init__(
        self, scores: Float[Tensor, "Q h w"], region: Int[Tensor, "H W"], query_class: Sequence[int] | None = None
    ) -> None:
        super().__init__(scores, (region.shape[0], region.shape[1]))
        classes = len(scores) if query_class is None else max(query_class) + 1
        owner = constant(tuple(range(classes) if query_class is None else query_class), scores.device)
        best = [best_query(super(RegionVotes, self).rows(rows)) for rows in self.strips()]
        top, self._first = (torch.cat(parts) for parts in zip(*best, strict=True))
        count, region = int(region.max()) + 1, to_device(region, scores.device)
        votes = tally(region * classes + owner[self._first], count * classes)
        elected = votes.view(count, classes).argmax(dim=1)[region]  # (H, W)
        # Pixels that change their class.
        self._outvoted = torch.from_numpy(to_host([elected != owner[self._first]])[0])
        self._winner, self._value = torch.zeros_like(self._first), torch.zeros_like(top)
        self._highest = torch.nextafter(top, torch.full_like(top, torch.inf))
        for rows in self.strips():
            row, column = self._changing(rows)
            if not len(row):
                continue
            # By one number each, an eighth of the time: an index of rows and columns goes element by element.
            pixels = super().rows(rows).flatten(1).index_select(1, row * self.size[1] + column)  # (Q, P)
            place = row + int(rows[0]), column
            others = owner[:, None] != elected[place]
            self._value[place], self._winner[place] = best_query(pixels.masked_fill_(others, -torch.inf))

    def _changing(self, wanted: Int[Tensor, " n"]) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
        """Row, counted in `wanted`, and column of each pixel that changes its class there; on the device."""
        row, column = self._outvoted[wanted].nonzero(as_tuple=True)
        return to_device(row, self.scores.device), to_device(column, self.scores.device)

    def rows(self, wanted: Int[Tensor, " n"], queries: slice = slice(None)) -> Float[Tensor, "K n W"]:
        """Scores after the vote."""
        start, stop, _ = queries.indices(len(self.scores))
        values = super().rows(wanted, queries)
        row, column = self._changing(wanted)
        there = to_device(wanted, self.scores.device)[row]
        for query, score in ((self._first, self._value), (self._winner, self._highest)):
            chosen = query[there, column] - start
            place = chosen.clamp(0, stop - start - 1), row, column
            # Of a query that is not asked for, the value at the place that it would have had stays what it is.
            values[place] = torch.where(chosen == place[0], score[there, column], values[place])
        return values


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
        Region number of each pixel, on the processor, or None when all patches are noise.
    """
    return _regions_of(rows[None], grid, size, eps, min_samples)[0]


def _regions_of(
    rows: Float[Tensor, "B N N"], grid: tuple[int, int], size: tuple[int, int], eps: float, min_samples: int
) -> list[Int[Tensor, "H W"] | None]:
    """`find_regions` of several images of one size; waits three times for the device, however many they are."""
    labels = [cluster(torch.from_numpy(one), eps, min_samples) for one in to_host([rows])[0]]
    clustered = [number for number, found in enumerate(labels) if found.max() >= 0]
    maps = [cluster_maps(rows[number], labels[number], grid) for number in clustered]
    if not maps:
        return [None] * len(rows)
    # Maps are smoothed one by one, so those of all images may go at once.
    smooth = smooth_maps(torch.cat(maps)).split([len(one) for one in maps])
    regions = to_host([_assign_pixels(one, size) for one in smooth])
    found = dict(zip(clustered, map(torch.from_numpy, regions), strict=True))
    return [found.get(number) for number in range(len(rows))]


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
            lambda: _regions_of(self.correlation(tokens), tokens.grid, size, eps, min_samples),
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
