"""Methods by name."""

from dataclasses import fields
from typing import Any, TypeVar

from ovss.errors import InputError, suggest
from ovss.methods.base import Method

M = TypeVar("M", bound=type[Method])
_REGISTRY: dict[str, type[Method]] = {}


def register(cls: M) -> M:
    """Class decorator: make a method known under its `name`."""
    _REGISTRY[cls.name] = cls
    return cls


def list_methods() -> list[str]:
    """Names of all methods, in the order of their publication lines: baselines first, `compose` last."""
    return list(_REGISTRY)


def method_class(name: str) -> type[Method]:
    """The class behind a name.

    Raises:
        InputError: No method has this name.
    """
    if name not in _REGISTRY:
        raise InputError(f"method '{name}' is unknown.{suggest(name, list_methods())}")
    return _REGISTRY[name]


def create_method(name: str, **hyperparameters: Any) -> Method:
    """A method by name.

    Args:
        name: One of `list_methods()`.
        **hyperparameters: Fields of that method; the others keep the published defaults.

    Returns:
        The method, for instance `create_method("naclip", sigma=3.0)`.

    Raises:
        InputError: Unknown name or hyperparameter (with a suggestion), or a value outside its domain.
    """
    cls = method_class(name)
    known = [item.name for item in fields(cls)]
    for key in hyperparameters:
        if key not in known:
            hint = suggest(key, known) or " It has none."
            raise InputError(f"method '{name}' has no parameter '{key}'.{hint}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()})
