"""Scores of a picture's windows put together: at patch resolution as matrix products, at pixels window by window."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.ingredients import WindowScores
from ovss.segment.labels import STRIP, ScoreField
from ovss.segment.windows import Axis, stitch_matrix


@dataclass(frozen=True, kw_only=True)
class PatchField(ScoreField):
    """Scores at patch resolution; see `ScoreField`.

    Attributes:
        cells: Scores of all windows side by side, (Q, rows * cells, columns * cells).
        rows: Windows along the height.
        columns: Windows along the width.
    """

    cells: Float[Tensor, "Q h w"]
    rows: Axis
    columns: Axis

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.cells.device

    @cached_property
    def _row_matrix(self) -> Float[Tensor, "H h"]:
        cells = self.cells.shape[1] // len(self.rows.starts)
        return stitch_matrix(self.rows, cells, self.size[0]).to(self.device)

    @cached_property
    def _column_matrix(self) -> Float[Tensor, "W w"]:
        cells = self.cells.shape[2] // len(self.columns.starts)
        return stitch_matrix(self.columns, cells, self.size[1]).to(self.device)

    def strip(self, top: int, queries: slice = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of some rows of the label map."""
        weights = self._row_matrix[top : top + STRIP]
        used = weights.any(dim=0).nonzero().squeeze(1)
        widened = self.cells[queries, used] @ self._column_matrix.T  # (Q, used, W)
        strip = weights[:, used] @ widened.transpose(0, 1).flatten(1)  # (strip, Q * W)
        return strip.unflatten(1, (-1, self.size[1]))


@dataclass(frozen=True, kw_only=True)
class PixelField(ScoreField):
    """Scores at the pixels of the windows, made row by row as the label map needs them; see `ScoreField`.

    Attributes:
        windows: Scores of each window, row by row of windows.
        rows: Windows along the height.
        columns: Windows along the width.
    """

    windows: tuple[WindowScores, ...]
    rows: Axis
    columns: Axis

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.windows[0].scores.device

    @cached_property
    def _row_weights(self) -> list[Float[Tensor, "H h"]]:
        """Per row of windows, what each of its rows of pixels contributes to each row of the label map."""
        matrix = stitch_matrix(self.rows, self.rows.padded, self.size[0]).to(self.device)
        return list(matrix.split(self.rows.padded, dim=1))

    @cached_property
    def _column_taps(self) -> list[tuple[slice, Int[Tensor, "k n"], Float[Tensor, "k n"]]]:
        """Per column of windows, the n columns of the label map that it reaches, and the one or two of its columns of
        pixels that each of them is made from, with their weights."""
        matrix = stitch_matrix(self.columns, self.columns.padded, self.size[1]).to(self.device)
        found = []
        for part in matrix.split(self.columns.padded, dim=1):
            reached = part.any(dim=1).nonzero()
            here = slice(int(reached[0]), int(reached[-1]) + 1)
            taps = part[here].topk(min(2, self.columns.padded), dim=1)
            found.append((here, taps.indices.T, taps.values.T))
        return found

    def strip(self, top: int, queries: slice = slice(None)) -> Float[Tensor, "strip Q W"]:
        """Stitched scores of some rows of the label map."""
        height = min(STRIP, self.size[0] - top)
        count = len(range(*queries.indices(len(self.rule.query_class))))
        strip = torch.zeros(height, count, self.size[1], device=self.device)
        for number, window in enumerate(self.windows):
            row, column = divmod(number, len(self.columns.starts))
            weights = self._row_weights[row][top : top + STRIP]
            used = weights.any(dim=0).nonzero().squeeze(1)
            if not len(used):
                continue
            here, taps, shares = self._column_taps[column]
            maps = window.rows(used, queries)  # (K, used, W)
            widened = torch.stack([maps[:, :, tap] * share for tap, share in zip(taps, shares, strict=True)]).sum(0)
            part = (weights[:, used] @ widened.transpose(0, 1).flatten(1)).unflatten(1, widened.shape[::2])
            if window.coefficients is not None:
                part = window.coefficients[queries] @ part
            strip[:, :, here] += part
        return strip
