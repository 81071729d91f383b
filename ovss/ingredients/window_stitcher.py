"""Windows put together at pixels, for methods that refine their scores there."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import to_device
from ovss.ingredients.regions import WindowScores


class WindowStitcher:
    """Windows of an image put together at the pixels of its label map, a few rows at a time.

    Args:
        windows: Scores of each window, row by row of windows, all of one size.
        rows: What each row of pixels of each row of windows contributes to each row of the label map; on the processor.
        columns: The same for columns.
    """

    def __init__(
        self, windows: Sequence[WindowScores], rows: Float[Tensor, "H h"], columns: Float[Tensor, "W w"]
    ) -> None:
        self.windows = windows
        self.device = windows[0].scores.device
        height, width = windows[0].size
        self._width = len(columns)
        self._rows = rows.split(height, dim=1)
        self._columns = [_column_taps(part, self.device) for part in columns.split(width, dim=1)]

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
            part = (to_device(weights[:, used], self.device) @ widened.transpose(0, 1).flatten(1)).unflatten(
                1, widened.shape[::2]
            )
            if window.coefficients is not None:
                part = window.coefficients[queries] @ part
            strip[:, :, reached] += part
        return strip


def _column_taps(
    weights: Float[Tensor, "W w"], device: torch.device
) -> tuple[slice, Int[Tensor, "k n"], Float[Tensor, "k n"]]:
    """The n columns of the label map that a window reaches, and the one or two of its own columns of pixels that each
    of them is made from, with their weights."""
    found = weights.any(dim=1).nonzero()
    reached = slice(int(found[0]), int(found[-1]) + 1)
    taps = weights[reached].topk(min(2, weights.shape[1]), dim=1)
    return reached, to_device(taps.indices, device).T, to_device(taps.values, device).T
