"""The position embedding at grids other than the one it was trained for."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ovss.errors import InputError

POSITION_RULES = ("scale", "antialias", "size")


def resize_positions(
    table: Tensor, native: tuple[int, int], grid: tuple[int, int], rule: str, prefix: int = 1
) -> Tensor:
    """Bicubic resize of a position table to another grid, computed in float32; rows of prefix tokens stay as they are.

    Args:
        table: (prefix + H0 * W0, D).
        native: Rows and columns (H0, W0) of the table.
        grid: Rows and columns (h, w) wanted.
        rule: One of `POSITION_RULES`.
        prefix: Number of rows in front of those of the patches.

    Returns:
        (prefix + h * w, D), in the table's number format.

    Raises:
        InputError: Rule "scale" misses the grid.
    """
    patches = table[prefix:].float().T.unflatten(1, native).unsqueeze(0)  # (1, D, H0, W0)
    if rule == "scale":
        # The 0.1 keeps floor(H0 * factor) at h; it also shifts the sampling points, as the published rule does.
        factor = ((grid[0] + 0.1) / native[0], (grid[1] + 0.1) / native[1])
        resized = F.interpolate(patches, scale_factor=factor, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(patches, size=grid, mode="bicubic", align_corners=False, antialias=rule == "antialias")
    if resized.shape[-2:] != grid:
        raise InputError(f"position rule 'scale' gives a {tuple(resized.shape[-2:])} grid for {grid}; use 'size'")
    return torch.cat([table[:prefix], resized[0].flatten(1).T.to(table.dtype)])
