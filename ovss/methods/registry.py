"""Methods by name, and from what a user wrote."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from ovss.errors import InputError, suggest
from ovss.methods.base import Method
from ovss.methods.faults import check_class

__all__ = ["READING_ORDER", "method_class", "parse_method", "register"]

_M = TypeVar("_M", bound=type[Method])
READING_ORDER = (
    "clip",
    "maskclip",
    "clip_surgery",
    "sclip",
    "gem",
    "clearclip",
    "resclip",
    "naclip",
    "cliptrase",
    "scclip",
    "clipseg_aaai25",
)
"""Order of tables: the baselines, then the four papers of the study. Names that are not here follow by alphabet."""
_REGISTRY: dict[str, type[Method]] = {}


def register(cls: _M) -> _M:
    """Class decorator: make a method known under its `name`.

    A class that is defined again under the same name and in the same place, as a notebook cell that is run twice does,
    takes the place of the earlier one.

    Raises:
        InputError: Another class has this name already, or this one lacks what a method must say of itself.
    """
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise InputError(f"'{getattr(cls, '__qualname__', cls)}' must inherit from ovss.Method to be a method")
    check_class(cls)
    known = _REGISTRY.get(cls.name, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise InputError(f"method '{cls.name}' is defined twice: in {known.__module__} and in {cls.__module__}")
    _REGISTRY[cls.name] = cls
    return cls


def list_methods() -> list[str]:
    """Names of all methods: those of `READING_ORDER`, others by alphabet, `compose` last.

    Example:
        >>> import ovss
        >>> ovss.list_methods()[:4]
        ['clip', 'maskclip', 'clip_surgery', 'sclip']
    """
    known = [name for name in READING_ORDER if name in _REGISTRY]
    others = sorted(set(_REGISTRY) - {*known, "compose"})
    return [*known, *others, *(["compose"] if "compose" in _REGISTRY else [])]


def default_methods() -> list[str]:
    """Names of the methods that "all" stands for."""
    return [name for name in list_methods() if _REGISTRY[name].in_all]


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
        The method; its label names what differs from the defaults.

    Example:
        >>> import ovss
        >>> ovss.create_method("naclip", sigma=2.0).label
        'naclip(sigma=2.0)'

    Raises:
        InputError: Unknown name or hyperparameter (with a suggestion), or a value outside its domain.
    """
    cls = method_class(name)
    known = [item.name for item in fields(cls)]
    for key in hyperparameters:
        if key not in known:
            hint = suggest(key, known) or " It has none."
            raise InputError(f"method '{name}' has no parameter '{key}'.{hint}")
    return cls(**{key: _as_tuple(value) for key, value in hyperparameters.items()})


def _as_tuple(value: Any) -> Any:
    # JSON and TOML have lists only.
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def resolve_methods(
    methods: str | Method | Sequence[str | Method] | Mapping[str, str | Method],
) -> dict[str, Method]:
    """Methods by the label they have in results.

    Args:
        methods: See `evaluate`; names may carry parameters, as in "naclip(sigma=2.0)". "all" stands for every method
            but `compose`, whose default is plain CLIP, and those whose defaults fit certain weights only.

    Raises:
        InputError: An unknown method or parameter, none at all, or one label twice.
    """
    if isinstance(methods, Mapping):
        found = {label: _method(method) for label, method in methods.items()}
    else:
        listed = [methods] if isinstance(methods, str | Method) else list(methods)
        if "all" in listed:
            every = default_methods()
            listed = [*every, *(method for method in listed if method != "all" and method not in every)]
        created = [_method(method) for method in listed]
        found = {method.label: method for method in created}
        if len(found) < len(created):
            labels = [method.label for method in created]
            twice = next(label for label in labels if labels.count(label) > 1)
            raise InputError(f"method '{twice}' is given twice; give a dictionary to label equal methods differently")
    if not found:
        raise InputError(f"no method was given; there are {', '.join(list_methods())}, or 'all'")
    return found


def parse_method(text: str) -> Method:
    """A method from its label: "naclip", "naclip(sigma=2.0, omega=False)".

    Raises:
        InputError: The text has another form, or the method or a parameter is unknown.
    """
    match = re.fullmatch(r"\s*([\w.+-]+)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise InputError(f"method '{text}' must look like naclip or naclip(sigma=2.0)")
    name, inside = match.groups()
    try:
        call = ast.parse(f"f({inside or ''})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        values = {str(word.arg): ast.literal_eval(_quoted(word.value)) for word in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"parameters of method '{text}' must look like (sigma=2.0, omega=False)") from error
    try:
        repr(values)  # of whole numbers with thousands of digits Python makes no text, so no message could name them
    except ValueError as error:
        raise InputError(f"parameters of method '{text}' must be numbers of ordinary size") from error
    try:
        return create_method(name, **values)
    except OverflowError as error:
        raise InputError(f"parameters of method '{text}' must be numbers of ordinary size") from error


def _quoted(node: ast.expr) -> ast.expr:
    # A bare word is a string, so that labels, which show strings without quotes, can be read back.
    return ast.Constant(node.id) if isinstance(node, ast.Name) else node


def _method(method: str | Method) -> Method:
    return parse_method(method) if isinstance(method, str) else method
