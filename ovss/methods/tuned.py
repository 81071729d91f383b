"""Methods with the parameters that the authors of a protocol tuned per data set, and what was tuned so."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ovss.errors import InputError
from ovss.methods.base import Method
from ovss.methods.parameters import default_of
from ovss.methods.registry import create_method, list_methods, method_class
from ovss.protocols import Protocol

__all__ = ["set_per_dataset", "tuned_names", "under_protocol"]

_OF_THE_WORDS = ("background", "variant", "metric")
"""Settings that say which classes a data set has, not how well it is to be labelled."""


def under_protocol(method: Method, protocol: Protocol) -> Method:
    """A method with the parameters that a protocol's authors tuned for it.

    Args:
        method: As the user made it; a parameter that is not at its default stays.
        protocol: Resolved for the data set.

    Raises:
        InputError: The protocol gives the method a parameter that it has not, or a value outside its domain, or lets
            windows share what this method does not.
    """
    made = _tuned(method, protocol)
    if protocol.windows == "shared" and (made.compares_words or not made.shares_windows):
        able = ", ".join(name for name in list_methods() if method_class(name).shares_windows)
        raise InputError(f"method '{made.label}' cannot run with windows='shared'; these can: {able}")
    return made


def _tuned(method: Method, protocol: Protocol) -> Method:
    tuned = protocol.methods.get(method.name)
    if not tuned:
        return method
    chosen = {item.name: getattr(method, item.name) for item in fields(method)}
    changed = {item.name for item in fields(method) if chosen[item.name] != default_of(item)}
    try:
        return create_method(method.name, **chosen | {key: tuned[key] for key in tuned if key not in changed})
    except InputError as error:
        raise InputError(f"protocol '{protocol.name}' on {protocol.dataset}, methods: {error}") from error


def set_per_dataset(protocol: Protocol) -> tuple[str, ...]:
    """Settings that have another value for a protocol's data set than for the others.

    Which words a data set has, and whether one of them is background, does not count. A threshold that all data sets
    with a background share is not set per data set.

    Args:
        protocol: Resolved for the data set; what a caller set for all data sets counts for none.

    Example:
        >>> import ovss
        >>> set_per_dataset(ovss.load_protocol("scclip").for_dataset("voc21"))
        ('logit_scale', 'threshold', 'area_rule')
        >>> set_per_dataset(ovss.load_protocol("window224").for_dataset("voc21"))
        ()
    """
    elsewhere, *others = _resolutions(protocol)
    names = []
    for name, own in protocol.fields.items():
        if name in ("methods", *_OF_THE_WORDS) or own == getattr(elsewhere, name):
            continue
        asked = [one for one in others if name != "threshold" or one.threshold is not None]
        rest = [elsewhere] if name != "threshold" or elsewhere.threshold is not None else []
        if len(_distinct(getattr(one, name) for one in (*rest, *asked))) > 1:
            names.append(name)
    return tuple(names)


def tuned_names(method: Method, protocol: Protocol) -> tuple[str, ...]:
    """Hyperparameters of a method that have another value for a protocol's data set than for others.

    Args:
        method: As `under_protocol` made it; what a user gave it is not tuned.
        protocol: Resolved for the data set.

    Example:
        >>> import ovss
        >>> protocol = ovss.load_protocol("resclip").for_dataset("voc20")
        >>> tuned_names(under_protocol(ovss.create_method("resclip"), protocol), protocol)
        ('lam', 'sfr_lam', 'sfr_tau', 'sfr_threshold')
        >>> tuned_names(ovss.create_method("naclip"), protocol)
        ()
    """
    defaults = {item.name: default_of(item) for item in fields(method)}
    tables = [one.methods.get(method.name, {}) for one in _resolutions(protocol)]
    own = protocol.methods.get(method.name, {})
    return tuple(
        name
        for name, value in sorted(own.items())
        if method.parameters[name] == value and len(_distinct(table.get(name, defaults[name]) for table in tables)) > 1
    )


def _resolutions(protocol: Protocol) -> list[Protocol]:
    """A protocol for a data set that it does not know, then for each one that it has values for."""
    names = {table.rpartition(" on ")[2] for table in protocol.overrides}
    return [protocol.for_dataset(name, protocol.model) for name in ("words", *sorted(names))]


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
