"""What a number in a table means: to how many digits, and how far another processor may move it.

Processors round differently in the last bit, so a pixel between two classes of equal score may get either label. All
bounds follow from one statement about pixels: of a class whose union of truth and prediction over the data set is U
pixels, at most `PIXELS + SHARE * U` change hands, and each moves the class's IoU by at most 1 / U. Measured on 300
scenes with other instruction sets, threads and noise of 1e-6 in the weights: 3 pixels, and up to 24 (5e-5 of the union)
for a method with a discrete step, such as SC-CLIP's, where a whole patch may pass for an anomaly or not.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

__all__ = ["PIXELS", "SHARE", "Kind", "kind_of"]

PIXELS = 2.0
SHARE = 2e-4
_SMALLEST = 20_000
"""Union of a class of the study, in pixels, at the least: 60 images with 22 classes."""
_POINTS = 100 * (PIXELS / _SMALLEST + SHARE)
"""Bound of an IoU or a mean of them, in points, where the classes' areas are not in the row: 0.03."""
_CHANCE = 0.005
"""Bound of a p-value: ten of 2000 permutations that reach the observed difference by a hair or miss it by one."""
_OTHER = 0.005
"""Bound of a correlation, share or other measurement; beyond 1, relative to its value."""

_PERCENT = ("mIoU", "mAcc", "pAcc", "fwIoU", "IoU", "accuracy", "a", "b", "min", "max", "published", "measured")
_CHANGES = {"difference": 2, "effect": 4, "half_width": 2, "spread": 2}
"""Columns in points that combine several means, and how many."""


class Kind(NamedTuple):
    """How a column of numbers is written and compared.

    Attributes:
        decimals: Decimals that are written.
        bound: Largest change by another processor, before rounding; beyond 1, relative to the value.
    """

    decimals: int
    bound: float

    def allowed(self, value: float, bound: float | None = None) -> float:
        """Largest difference of two written numbers: what moved, and one step of rounding.

        Args:
            value: One of them.
            bound: Instead of the kind's own, where the row says more.
        """
        scale = max(1.0, abs(value)) if self.bound == _OTHER else 1.0
        return (self.bound * scale if bound is None else bound) + 1.001 * 10.0**-self.decimals


def kind_of(column: str, values: pd.Series) -> Kind | None:
    """Kind of a column; None for one that must agree exactly: words, counts, areas of the ground truth.

    Args:
        column: Its name; the ends of an interval ("_low", "_high") are of the kind of its middle.
        values: Its content.
    """
    name = column.removesuffix("_low").removesuffix("_high")
    if name == "predicted_pixels":
        largest = float(values.abs().max()) if len(values) else 0.0
        return Kind(3 - _order(largest), PIXELS + SHARE * 2 * largest)
    if not pd.api.types.is_float_dtype(values):
        return None
    if name in _PERCENT:
        return Kind(2, _POINTS)
    if name in _CHANGES:
        return Kind(2, _CHANGES[name] * _POINTS)
    if name in ("p", "p_holm"):
        return Kind(3, _CHANCE)
    largest = float(values.abs().max()) if values.notna().any() else 0.0
    return Kind(3, _OTHER) if largest >= 0.1 or largest == 0 else Kind(3 - _order(largest), _OTHER * largest)


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """A table's numbers rounded to what they mean: 0.01 points, p-values to 0.001, predicted areas to four digits."""
    columns = {}
    for name in frame.columns:
        kind = kind_of(str(name), pd.Series(frame[name]))
        if kind is not None:
            whole = pd.api.types.is_integer_dtype(frame[name])
            values = np.round(frame[name].to_numpy(float), kind.decimals) + 0.0  # no negative zero
            columns[name] = values.astype(np.int64) if whole else values
    return frame.assign(**columns)


def _order(value: float) -> int:
    return math.floor(math.log10(value)) if value > 0 else 0
