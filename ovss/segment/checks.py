"""What methods, protocol and a second network must have in common."""

from collections.abc import Mapping

from ovss.backbone import Companion
from ovss.errors import InputError
from ovss.methods import Method
from ovss.protocols import Protocol

__all__ = ["check_companion"]


def check_companion(companion: Companion | None, methods: Mapping[str, Method], protocol: Protocol) -> None:
    """Refuse a second network that nobody would look at, and the lack of one.

    Raises:
        InputError: Neither a method nor the protocol uses it, or the protocol needs one.
    """
    if protocol.lposs_features == "companion":
        if companion is None:
            raise InputError(f"protocol '{protocol.name}' has lposs_features = \"companion\"; give a companion")
    elif companion is not None and not any(method.uses_companion for method in methods.values()):
        raise InputError(f"companion '{companion.name}' is used by none of {', '.join(methods)}; proxyclip uses one")
