"""Mean values of every place of a pass over many images, for parts that are replaced by their mean."""

import torch
from jaxtyping import Float
from torch import Tensor

Place = tuple[str, int, int]
"""Kind of a part, number of its block, and the how manieth time that the pass comes by there."""


class Means:
    """Mean values of all places of a pass, over images: one row per prefix token, one for all patches."""

    def __init__(self) -> None:
        self._sums: dict[Place, tuple[Tensor, Tensor]] = {}

    def add(self, place: Place, x: Float[Tensor, "B *H R d"], grid: tuple[int, int]) -> None:
        """Take in the values of a batch."""
        prefix, patches = _rows(x, grid)
        rows = [x[..., :prefix, :].double().sum(0)]
        counts = [float(len(x))] * prefix
        if patches:
            rows.append(x[..., prefix:, :].double().sum((0, -2)).unsqueeze(-2))
            counts.append(float(len(x) * patches))
        sums, count = torch.cat(rows, dim=-2), torch.tensor(counts, dtype=torch.float64, device=x.device)
        if place in self._sums:
            sums, count = sums + self._sums[place][0], count + self._sums[place][1]
        self._sums[place] = sums, count

    def like(self, place: Place, x: Float[Tensor, "B *H R d"], grid: tuple[int, int]) -> Float[Tensor, "B *H R d"]:
        """The means in the shape of `x`."""
        sums, count = self._sums[place]
        means = sums / count[:, None]
        prefix, patches = _rows(x, grid)
        shape = (*means.shape[:-2], patches, means.shape[-1])
        full = torch.cat([means[..., :prefix, :], means[..., -1:, :].expand(shape)], dim=-2)
        return full.to(x.dtype).expand_as(x)


def _rows(x: Tensor, grid: tuple[int, int]) -> tuple[int, int]:
    """How many of the rows are prefix tokens, and how many patches; less rows than patches are prefix tokens alone."""
    rows, patches = x.shape[-2], grid[0] * grid[1]
    return (rows - patches, patches) if rows >= patches else (rows, 0)
