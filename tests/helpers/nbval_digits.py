"""Plugin for nbval: a printed decimal number may differ by one in its last digit from the one that was committed.

Another processor moves results by less than that, but can turn a digit whose number lies on the edge between two. Words
and whole numbers must be the same.
"""

import re
from decimal import Decimal

import pytest

_DECIMAL = re.compile(r"[-+]?\d+\.\d+")
_BLANKS = re.compile(r" +")


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same but for the last digits of decimal numbers, and blanks that make columns."""
    frames = [_BLANKS.sub(" ", _DECIMAL.sub("#", text)) for text in (one, other)]
    pairs = zip(_DECIMAL.findall(one), _DECIMAL.findall(other), strict=False)
    return frames[0] == frames[1] and all(_near(Decimal(a), Decimal(b)) for a, b in pairs)


def _near(one: Decimal, other: Decimal) -> bool:
    places = one.as_tuple().exponent
    return places == other.as_tuple().exponent and abs(one - other) <= Decimal((0, (1,), int(places)))


class _Text(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same_text(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval compare what it has sanitised in this way."""
    from nbval.plugin import IPyNbCell

    original = IPyNbCell.sanitize

    def sanitize(self, text):
        found = original(self, text)
        return _Text(found) if isinstance(found, str) else found

    IPyNbCell.sanitize = sanitize
