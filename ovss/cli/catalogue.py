"""Methods as their files describe them, read without running the files: running them imports torch.

The files are parsed. Names, papers and hyperparameters are literals in them, or names of literals in a module of this
package; where something else stands, the registry is imported and asked instead. A test holds the two readings
together.
"""

import ast
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ovss.methods import Method

_HOME = Path(__file__).parents[1]
_PARAMETER = ("default", "help", "source", "domain")
"""Arguments of `ovss.methods.parameters.parameter`, in their order."""


class Hyperparameter(NamedTuple):
    """One hyperparameter of a method; the values are those of its field, the type is written out."""

    name: str
    type: str
    default: Any
    domain: str | tuple[str, ...] | None
    help: str
    source: str


@dataclass(frozen=True)
class Description:
    """What the list and the page of a method show.

    Attributes:
        name: Name of the method.
        summary: Docstring of its class, on one line.
        paper: Fields of its `Paper`.
        own_pass: Whether it costs one more backbone pass.
        shares_windows: Whether it can run with windows='shared'.
        parameters: In the order of the fields.
    """

    name: str
    summary: str
    paper: Mapping[str, Any]
    own_pass: bool
    shares_windows: bool
    parameters: tuple[Hyperparameter, ...]


@cache
def describe_methods() -> dict[str, Description]:
    """Every method by name, in the order of `list_methods`."""
    with suppress(_NotLiteralError):
        if not entry_points(group="ovss.methods"):
            return read_descriptions()
    from ovss.methods import list_methods, method_class

    return {name: describe_class(method_class(name)) for name in list_methods()}


def describe_class(cls: "type[Method]") -> Description:
    """A method as its class describes it."""
    from ovss.methods.parameters import default_of, type_name

    said = {"domain": None, "help": "not described", "source": "its class"}
    rows = (
        Hyperparameter(item.name, type_name(item.type), default_of(item), **said | dict(item.metadata))
        for item in fields(cls)
    )
    summary = " ".join((cls.__doc__ or "").split())
    return Description(cls.name, summary, vars(cls.paper), cls.own_pass, cls.shares_windows, tuple(rows))


def support_words(word: str) -> str:
    """What a method's word of support means; it stands in the same file as the papers' form."""
    words: Mapping[str, str] = _look_up("SUPPORT", _module("ovss.methods.paper"))
    return f"{word}, {words[word]}" if word else "not stated"


class _NotLiteralError(ValueError):
    """A value of a method file can only be had by running the file."""


def read_descriptions() -> dict[str, Description]:
    """Every method by name, read from the method files.

    Raises:
        ValueError: A name, a paper or a hyperparameter is not a literal, so that it is known only when the file runs.
    """
    found: dict[str, Description] = {}
    for path in sorted((_HOME / "methods").glob("*.py")):
        module = _read_module(path)
        for node in module.values.values():
            if isinstance(node, ast.ClassDef) and any(_name(mark) == "register" for mark in node.decorator_list):
                description = _read_class(node, module)
                found[description.name] = description
    order = [name for name in _look_up("READING_ORDER", _module("ovss.methods.registry")) if name in found]
    others = sorted(found.keys() - {*order, "compose"})
    return {name: found[name] for name in (*order, *others, "compose") if name in found}


class _Module(NamedTuple):
    """A parsed file: what its names are bound to at the top level, here or by import from this package."""

    values: dict[str, ast.AST]
    imports: dict[str, tuple[str, str]]


@cache
def _read_module(path: Path) -> _Module:
    values: dict[str, ast.AST] = {}
    imports: dict[str, tuple[str, str]] = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            values[node.name] = node
        elif isinstance(node, ast.Assign):
            values |= {_name(target): node.value for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            values[_name(node.target)] = node.value
    return _Module(values, imports)


def _module(name: str) -> _Module:
    base = _HOME.parent.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return _read_module(path)
    raise _NotLiteralError(f"{name} is not a module of this package")


def _find(name: str, module: _Module) -> tuple[ast.AST, _Module]:
    """What a name is bound to, and the module where that stands."""
    while name not in module.values:
        if name not in module.imports:
            raise _NotLiteralError(f"{name} is not bound at the top level")
        source, name = module.imports[name]
        module = _module(source)
    return module.values[name], module


def _look_up(name: str, module: _Module) -> Any:
    return _value(*_find(name, module))


def _value(node: ast.AST, module: _Module) -> Any:
    if isinstance(node, ast.Name):
        return _look_up(node.id, module)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(_value(part, module)) for part in node.values)
    if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        return _value(node.value, module)
    if isinstance(node, ast.Tuple | ast.List):
        parts: list[Any] = []
        for part in node.elts:
            parts += _value(part.value, module) if isinstance(part, ast.Starred) else [_value(part, module)]
        return tuple(parts) if isinstance(node, ast.Tuple) else parts
    try:
        return ast.literal_eval(node)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise _NotLiteralError(ast.unparse(node)) from error


def _read_class(node: ast.ClassDef, module: _Module) -> Description:
    values, rows = _read_body(node, module)
    paper = _paper_defaults() | _call(values["paper"], module, "Paper", ())
    own_pass, shares = (key in values and _value(values[key], module) for key in ("own_pass", "shares_windows"))
    summary = " ".join((ast.get_docstring(node) or "").split())
    return Description(_value(values["name"], module), summary, paper, own_pass, shares, tuple(rows))


def _read_body(node: ast.ClassDef, module: _Module) -> tuple[dict[str, ast.AST], list[Hyperparameter]]:
    """Class variables of a class itself, and hyperparameters, those of the class it stands on first."""
    if len(node.bases) != 1:
        raise _NotLiteralError(f"{node.name} inherits from several classes")
    base, rows = _name(node.bases[0]), []
    if base != "Method":
        found, home = _find(base, module)
        if not isinstance(found, ast.ClassDef):
            raise _NotLiteralError(f"{node.name} inherits from {base}, which is no class")
        variables, rows = _read_body(found, home)
        if variables:
            raise _NotLiteralError(f"{node.name} inherits {', '.join(variables)} from {base}")
    values: dict[str, ast.AST] = {}
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and line.value is not None:
            if ast.unparse(line.annotation).startswith("ClassVar"):
                values[_name(line.target)] = line.value
            else:
                given = _call(line.value, module, "parameter", _PARAMETER)
                row = {"domain": None, **given, "name": _name(line.target), "type": ast.unparse(line.annotation)}
                rows.append(Hyperparameter(**row))
    return values, rows


def _call(node: ast.AST, module: _Module, function: str, order: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of a call to a function, which may stand in another function that only returns it."""
    if not isinstance(node, ast.Call):
        raise _NotLiteralError(ast.unparse(node))
    if _name(node.func) != function:
        target, home = _find(_name(node.func), module)
        last = target.body[-1] if isinstance(target, ast.FunctionDef) else None
        if node.args or node.keywords or not isinstance(last, ast.Return) or last.value is None:
            raise _NotLiteralError(ast.unparse(node))
        return _call(last.value, home, function, order)
    values = {name: _value(argument, module) for name, argument in zip(order, node.args, strict=False)}
    return values | {str(word.arg): _value(word.value, module) for word in node.keywords}


@cache
def _paper_defaults() -> dict[str, Any]:
    node, module = _find("Paper", _module("ovss.methods.paper"))
    lines = [line for line in getattr(node, "body", ()) if isinstance(line, ast.AnnAssign) and line.value is not None]
    return {_name(line.target): _value(line.value, module) for line in lines if line.value is not None}


def _name(node: ast.AST) -> str:
    return getattr(node, "id", "")
