"""Parts of sentences that are made from results, right for one thing and for many, for a gain, a loss and neither."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from ovss.evaluation import Evaluation

__all__ = ["Measured", "counted", "helped", "listed", "paired", "peak", "verb"]


class Measured(NamedTuple):
    """A number with its 95 % interval; NaN ends where there is none.

    Example:
        >>> str(Measured(8.27, 1.04, 14.3, "points"))
        '+8.3 points [1.0, 14.3]'
        >>> Measured(0.2, -0.3, 0.7).sign
        0
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    decimals: int = 1
    signed: bool = True

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero on that side, else 0; also 0 without an interval."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        decimals = self._decimals()
        text = _number(self.value, decimals, self.signed) + (f" {self.unit}" if self.unit else "")
        if math.isnan(self.low) or math.isnan(self.high):
            return text
        return f"{text} [{_number(self.low, decimals)}, {_number(self.high, decimals)}]"

    def _decimals(self) -> int:
        """As asked for; more where a number that is surely not zero would read as one."""
        ends = (self.value, self.low, self.high)
        for decimals in range(self.decimals, self.decimals + 3):
            if self.sign == 0 or all(round(end, decimals) != 0 for end in ends):
                return decimals
        return self.decimals + 3

    def words(self, more: str, less: str, neither: str) -> str:
        """One of three words by the sign."""
        return {1: more, -1: less, 0: neither}[self.sign]


def _number(value: float, decimals: int, signed: bool = False) -> str:
    """A rounded number without a negative zero; a zero has no sign, and what is not a number says so."""
    if math.isnan(value):
        return "n/a"
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 block", "2 blocks", "no blocks"."""
    return f"{count or 'no'} {noun if count == 1 else plural or noun + 's'}"


def verb(count: int, one: str, many: str) -> str:
    """The form of a verb that goes with a count: "1 of 3 pairs differs", "none of them differ"."""
    return one if count == 1 else many


def listed(names: Sequence[str], none: str = "none") -> str:
    """ "a", "a and b", "a, b and c"; the word for none where there are none."""
    *first, last = names or (none,)
    return f"{', '.join(first)} and {last}" if first else last


def peak(curve: pd.Series, place: str = "block", decimals: int = 2) -> str:
    """Where a curve over blocks is highest and what it has at its end, without saying one number twice.

    Args:
        curve: Values by number of the block.
        place: "in block", "after block", ...: what stands before a number.
        decimals: Of the values.

    Example:
        >>> peak(pd.Series({1: 0.5, 2: 0.75, 3: 0.42}), "in block")
        'highest in block 2 (0.75), 0.42 in block 3, the last'
        >>> peak(pd.Series({5: 0.9, 6: 0.974, 7: 0.97, 8: 0.969}), "after block")
        'highest after block 8, the last, and level from block 6 on (0.97)'
    """
    rounded: Any = curve.dropna().astype(float).round(decimals)
    if rounded.empty:
        return "without a value in any block"
    last, top = rounded.index[-1], rounded.max()
    if rounded.nunique() == 1:
        return f"{top:.{decimals}f} {place} {last}" + (" and in all before it" if len(rounded) > 1 else "")
    if rounded.iloc[-1] == top:
        before = rounded.index[rounded == top][0]
        if not (rounded.loc[before:] == top).all():
            return f"highest {place} {before} and {place} {last}, the last ({top:.{decimals}f})"
        level = next(where for where in rounded.index if (rounded.loc[where:] == top).all())
        from_on = "" if level == last else f", and level from block {level} on"
        return f"highest {place} {last}, the last{from_on} ({top:.{decimals}f})"
    end = rounded.iloc[-1]
    return f"highest {place} {rounded.idxmax()} ({top:.{decimals}f}), {end:.{decimals}f} {place} {last}, the last"


def paired(evaluation: "Evaluation", better: str, worse: str, *, measure: str = "mIoU", decimals: int = 1) -> Measured:
    """How many points one method has more than another on the same images, with the paired interval."""
    rows: Any = evaluation.compare(worse, better)
    row = rows[(rows["scope"] == "mean") & (rows["name"] == measure)].iloc[0]
    return Measured(row["difference"], row["low"], row["high"], "points", decimals)


def helped(evaluation: "Evaluation", better: str, worse: str) -> str:
    """On how many images one method labels more pixels right than another: "helps on 21 of 80 images, hurts on 29"."""
    frame: Any = evaluation.per_image()
    pixels = frame.groupby(["method", "image"])["intersection"].sum().unstack("method")
    change = pixels[better] - pixels[worse]
    return f"helps on {int((change > 0).sum())} of {counted(len(change), 'image')}, hurts on {int((change < 0).sum())}"
