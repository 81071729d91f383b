"""Tokens of a small random model, and one value of a tidy frame."""

from typing import Any

import pandas as pd
import torch
from method_helpers import random_backbone

from ovss.backbone import Tokens

CLASSES = 3


def make_tokens(grid: tuple[int, int] = (4, 6), batch: int = 2, depth: int = 3) -> Tokens:
    backbone = random_backbone(depth=depth, heads=2, width=32)
    pixels = torch.randn(batch, 3, grid[0] * 8, grid[1] * 8, generator=torch.Generator().manual_seed(1))
    return backbone.encode_tokens(pixels)


def value(frame: pd.DataFrame, measure: str, **keys: Any) -> float:
    chosen = frame[frame["measure"] == measure]
    for column, wanted in keys.items():
        chosen = chosen[chosen[column] == wanted]
    assert len(chosen) == 1
    return float(chosen["value"].iloc[0])


def random_rows(*shape: int) -> torch.Tensor:
    return torch.softmax(2 * torch.randn(*shape, generator=torch.Generator().manual_seed(3)), dim=-1)
