"""Which methods a study compares, from what a user wrote."""

import ast
import re
from collections.abc import Mapping, Sequence

from ovss.errors import InputError
from ovss.methods import Method, create_method, list_methods


def resolve_methods(
    methods: str | Method | Sequence[str | Method] | Mapping[str, str | Method],
) -> dict[str, Method]:
    """Methods by the label they have in results.

    Args:
        methods: See `evaluate`; names may carry parameters, as in "naclip(sigma=2.0)". "all" stands for every method
            but `compose`, whose default is no method of its own.

    Raises:
        InputError: An unknown method or parameter, none at all, or one label twice.
    """
    if isinstance(methods, Mapping):
        found = {label: _method(method) for label, method in methods.items()}
    else:
        listed = [methods] if isinstance(methods, str | Method) else list(methods)
        if "all" in listed:
            every = [name for name in list_methods() if name != "compose"]
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
    except (SyntaxError, ValueError) as error:
        raise InputError(f"parameters of method '{text}' must look like (sigma=2.0, omega=False)") from error
    return create_method(name, **values)


def _quoted(node: ast.expr) -> ast.expr:
    # A bare word is a string, so that labels, which show strings without quotes, can be read back.
    return ast.Constant(node.id) if isinstance(node, ast.Name) else node


def _method(method: str | Method) -> Method:
    return parse_method(method) if isinstance(method, str) else method
