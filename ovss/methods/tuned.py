"""Methods with the parameters that the authors of a protocol tuned per data set."""

from dataclasses import fields

from ovss.errors import InputError
from ovss.methods.base import Method
from ovss.methods.parameters import default_of
from ovss.methods.registry import create_method, list_methods, method_class
from ovss.protocols import Protocol

__all__ = ["under_protocol"]


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
