"""Scores of an image's windows put together: at patch resolution as matrix products, at pixels window by window."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import to_device
from ovss.ingredients import WindowScores, WindowStitcher
from ovss.segment.labels import STRIP, ScoreMap, Words
from ovss.segment.windows import Windows1D, stitch_matrix

__all__ = ["PatchScores"]

_BLOCK = 2**19
"""Scores that are labelled at a time, 2 MiB: as many as a core's cache holds."""
_HELD = 2**28
"""Bytes of strips that are kept for one who asks for them several times."""


@dataclass(frozen=True, kw_only=True)
class PatchScores(ScoreMap):
    """Scores at patch resolution; see `ScoreMap`.

    Attributes:
        cells: Scores of all windows side by side, (Q, rows * cells, columns * cells).
        rows: Windows along the height.
        columns: Windows along the width.
    """

    cells: Float[Tensor, "Q h w"]
    rows: Windows1D
    columns: Windows1D

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.cells.device

    @property
    def _along_rows(self) -> "_Along":
        return _Along(self.rows, self.cells.shape[1] // len(self.rows.starts), self.size[0])

    @property
    def _along_columns(self) -> "_Along":
        return _Along(self.columns, self.cells.shape[2] // len(self.columns.starts), self.size[1])

    @property
    def matrices(self) -> tuple[Float[Tensor, "H h"], Float[Tensor, "W w"]]:
        """Stitching along the height and along the width, from the cells of all windows to the label map, on the
        processor."""
        return stitch_matrix(*self._along_rows), stitch_matrix(*self._along_columns)

    @cached_property
    def _offered_cells(self) -> Float[Tensor, "h w Q"]:
        return self.cells[self.words].permute(1, 2, 0).contiguous()

    @cached_property
    def block_rows(self) -> int:
        """As many as fill a block at the width of the label map, and at least `STRIP`."""
        if self.propagation is not None:
            return STRIP
        return max(STRIP, _BLOCK // (self.size[1] * self._offered_cells.shape[2]))

    def blocks(self, top: int) -> Iterator[Float[Tensor, "rows columns Q"]]:
        """Stitched scores with the queries last, few enough columns at a time that a block stays in the cache."""
        if self.propagation is not None:
            yield from super().blocks(top)
            return
        weights, used = _stitching_parts(self._along_rows, self.block_rows, self.device)[top // self.block_rows]
        cells = self._offered_cells[used]  # (n, w, Q)
        width = max(1, _BLOCK // (self.block_rows * cells.shape[2]))
        for columns, near in _stitching_parts(self._along_columns, width, self.device):
            widened = columns @ cells[:, near]  # (n, columns, Q)
            yield (weights @ widened.flatten(1)).unflatten(1, (len(columns), -1))

    def stitched(self, top: int, queries: Words = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of some rows of the label map."""
        weights, used = _stitching_parts(self._along_rows, STRIP, self.device)[top // STRIP]
        widened = self.cells[queries][:, used] @ _matrix_on(self._along_columns, self.device).T  # (Q, used, W)
        strip = weights @ widened.transpose(0, 1).flatten(1)  # (strip, Q * W)
        return strip.unflatten(1, (-1, self.size[1]))


class _Along(NamedTuple):
    """Stitching along one axis; see `stitch_matrix`."""

    axis: Windows1D
    cells: int
    target: int


@lru_cache(maxsize=64)
def _matrix_on(along: _Along, device: torch.device) -> Float[Tensor, "target windows_cells"]:
    return to_device(stitch_matrix(*along), device)


@lru_cache(maxsize=64)
def _stitching_parts(
    along: _Along, length: int, device: torch.device
) -> list[tuple[Float[Tensor, "length n"], Int[Tensor, " n"]]]:
    """Weights of `length` pixels of the label map at a time, and the cells that these are made from.

    They follow from sizes alone, so that nobody has to ask the device which weights are not zero.
    """
    parts = stitch_matrix(*along).split(length)
    near = [part.any(dim=0).nonzero().squeeze(1) for part in parts]
    return [(to_device(part[:, used], device), to_device(used, device)) for part, used in zip(parts, near, strict=True)]


@dataclass(frozen=True, kw_only=True)
class PixelScores(ScoreMap):
    """Scores at the pixels of the windows, made row by row as the label map needs them; see `ScoreMap`.

    Attributes:
        windows: Scores of each window, row by row of windows.
        rows: Windows along the height.
        columns: Windows along the width.
        strips: Strips of all queries by their first row, where they are kept; see `held`.
    """

    windows: tuple[WindowScores, ...]
    rows: Windows1D
    columns: Windows1D
    strips: dict[int, Float[Tensor, "strip Q W"]] | None = field(default=None, repr=False)

    def held(self) -> "PixelScores":
        """The same scores, whose strips are made once; unless they take more than 256 MiB together."""
        size = 4 * len(self.rule.query_class) * self.size[0] * self.size[1]
        return self if size > _HELD else replace(self, strips={})

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.windows[0].scores.device

    @cached_property
    def _stitcher(self) -> WindowStitcher:
        rows = stitch_matrix(self.rows, self.rows.padded, self.size[0])
        return WindowStitcher(self.windows, rows, stitch_matrix(self.columns, self.columns.padded, self.size[1]))

    def stitched(self, top: int, queries: Words = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of some rows of the label map."""
        height = min(STRIP, self.size[0] - top)
        if self.strips is not None:
            if top not in self.strips:
                self.strips[top] = self._stitcher.strip(top, height, slice(None))
            return self.strips[top][:, queries]
        if isinstance(queries, slice):
            return self._stitcher.strip(top, height, queries)
        first, last = int(queries.min()), int(queries.max())
        return self._stitcher.strip(top, height, slice(first, last + 1))[:, queries - first]
