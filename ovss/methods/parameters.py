"""Hyperparameters of methods: dataclass fields that carry their documentation and their allowed values."""

import math
import types
import typing
from dataclasses import Field, field
from functools import cache
from typing import Any

from ovss.errors import InputError

__all__ = ["default_of", "parameter", "type_name"]


def parameter(default: Any, help: str, source: str, domain: str | tuple[str, ...] | None = None) -> Any:
    """A hyperparameter: dataclass field with its documentation and its allowed values.

    Args:
        default: Value when the user gives none.
        help: One line on what it does, with its unit.
        source: Where the default comes from: equation, section, table or "authors' code".
        domain: Interval such as "(0, inf)" or "[0, 1]", or the tuple of allowed words; None allows any
            value of the type.
    """
    return field(default=default, metadata={"help": help, "source": source, "domain": domain})


def check_parameter(owner: type, method: str, item: "Field[Any]", value: Any) -> None:
    """Check a value against the type and, where `parameter` made the field, the domain.

    Args:
        owner: Class of the method.
        method: Its name, for the message.
        item: The field.
        value: What it is to hold.

    Raises:
        InputError: The value does not fit; the message names method, parameter, value and domain.
    """
    domain, kind = item.metadata.get("domain"), _types(owner).get(item.name, Any)
    if not _has_type(value, kind):
        raise InputError(f"{method}: {item.name}={value!r} is not of type {type_name(kind)}")
    if value is None or domain is None or isinstance(value, bool):
        return
    entries = value if isinstance(value, tuple) else (value,)
    if isinstance(domain, tuple):
        if not set(entries) <= set(domain):
            raise InputError(f"{method}: {item.name}={value!r} is none of {', '.join(domain)}")
    elif not all(isinstance(entry, str) or _inside(entry, domain) for entry in entries):
        raise InputError(f"{method}: {item.name}={value!r} is outside {domain}")


def default_of(item: "Field[Any]") -> Any:
    """The value of a field that the user does not give."""
    # Not compared with MISSING: a class that came from another process has a copy of it.
    return item.default_factory() if callable(item.default_factory) else item.default


@cache
def _types(owner: type) -> dict[str, Any]:
    """Types of the fields; none where an annotation names something that is not there."""
    try:
        return typing.get_type_hints(owner)
    except (NameError, TypeError):
        return {}


def _has_type(value: Any, wanted: Any) -> bool:
    origin = typing.get_origin(wanted)
    if isinstance(wanted, types.UnionType) or origin is typing.Union:
        return any(_has_type(value, option) for option in typing.get_args(wanted))
    if origin is typing.Literal:
        return value in typing.get_args(wanted)
    if origin is tuple:
        kinds = typing.get_args(wanted)
        rest = kinds[0] if kinds[-1] is Ellipsis else None
        return isinstance(value, tuple) and (
            all(_has_type(entry, rest) for entry in value)
            if rest is not None
            else len(value) == len(kinds) and all(map(_has_type, value, kinds))
        )
    if wanted in (int, float):
        # Whole numbers beyond these bounds fit no tensor.
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return whole or (wanted is float and isinstance(value, float) and math.isfinite(value))
    if wanted is types.NoneType:
        return value is None
    kind = origin or wanted
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _inside(value: float, interval: str) -> bool:
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high)


def type_name(kind: Any) -> str:
    """A type as a reader would write it: "float", "int | None", "tuple[int, int]"."""
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
