"""Which files a result depends on: the package's sources that are reached by import, and the data files beside them.

Nothing is imported to find out: sources are parsed. An import counts wherever it stands, in a function too; one under
`TYPE_CHECKING` never runs and does not. A package that loads modules whose names it makes up, by walking its folder for
instance, reaches all modules of that folder; a name that a package fetches when it is first asked for (`ovss.evaluate`)
is found through its `TYPE_CHECKING` imports.
"""

import ast
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ovss.files import digest, file_digest

__all__ = ["is_ours", "modules_used", "source_digest"]

HOME = Path(__file__).parents[1]
_NO_DATA = {".py", ".pyc", ".pyi", ".md", ".typed", ".ipynb"}
"""Notebooks lie inside an installed package and beside it in a clone, and both make the same numbers."""
_VIEWS = {"_repr_html_", "_repr_png_"}
"""What a notebook shows of an object: no count depends on it, so it is neither read nor followed."""
_WALKS = {"iter_modules", "walk_packages"}
_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
"""Fields of a syntax tree that say nothing new, or that not every version of Python has."""


class _Source(NamedTuple):
    """What one file says.

    Attributes:
        digest: SHA-256 of its syntax tree.
        imports: Dotted names it may import, relative ones with their leading dots.
        served: Names that its `TYPE_CHECKING` block imports, with the module they come from.
        walks: Whether it loads the modules of its own folder.
    """

    digest: str
    imports: frozenset[str]
    served: dict[str, str]
    walks: bool


@cache
def source_digest(*roots: str) -> str:
    """SHA-256 over everything that the named modules of this package reach; read once per process."""
    return files_digest(reached_files(roots))


def reached_files(roots: Iterable[str], home: Path = HOME) -> list[Path]:
    """Sources that modules reach by import, and the data files of the folders that these lie in.

    Args:
        roots: Dotted names of modules.
        home: Folder of the package whose files count.

    Returns:
        Paths in order: sources, then data.

    Raises:
        ModuleNotFoundError: A root is no module of the package.
    """
    found: dict[str, Path] = {}
    for root in roots:
        if _file_of(root, home) is None:
            raise ModuleNotFoundError(f"no module '{root}' under '{home.parent}'")
        _follow(root, home, found)
    sources = sorted(found.values())
    data = {path for folder in {source.parent for source in sources} for path in _data_files(folder)}
    return [*sources, *sorted(data)]


def modules_used(code: str, home: Path = HOME) -> list[str]:
    """Modules of the package that a piece of code imports itself, such as the code cells of a notebook.

    Raises:
        SyntaxError: It is no Python.
    """
    found: dict[str, Path] = {}
    for name in read_source(code.encode()).imports:
        _resolve(name, home, found, follow=False)
    return sorted(found)


def files_digest(files: Sequence[Path], home: Path = HOME) -> str:
    """SHA-256 over names and contents; comments, docstrings and layout of sources, TOML and JSON do not count."""
    return digest([[path.relative_to(home).as_posix(), _content(path)] for path in files])


def _content(path: Path) -> str:
    if path.suffix == ".py":
        return read_source(path.read_bytes()).digest
    if path.suffix == ".toml":
        return digest(str(tomllib.loads(path.read_text(encoding="utf-8"))))
    if path.suffix == ".json":
        return digest(str(json.loads(path.read_text(encoding="utf-8"))))
    return file_digest(path)


@cache
def read_source(text: bytes) -> _Source:
    """Parse a source file.

    Raises:
        SyntaxError: It is no Python.
    """
    reader = _Reader()
    reader.read(ast.parse(text), runs=True)
    total = hashlib.sha256("\n".join(reader.parts).encode())
    return _Source(total.hexdigest(), frozenset(reader.imports()), reader.served, reader.walks)


class _Reader:
    """One pass over a syntax tree: its text for the digest, and the names that it imports.

    The text leaves out positions and bare strings and is the same under every version of Python.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.served: dict[str, str] = {}
        self.walks = False
        self._serving = 0
        self._names: list[str] = []
        self._bound: dict[str, str] = {}
        self._chains: list[ast.Attribute] = []

    def read(self, node: ast.AST, runs: bool) -> None:
        """Read a node and all below it; `runs` is False under `TYPE_CHECKING`."""
        kind, parts = type(node), self.parts
        if kind is ast.FunctionDef and node.name in _VIEWS:  # pyright: ignore
            return
        serves = kind is ast.FunctionDef and node.name == "__getattr__"  # pyright: ignore
        self._serving += serves
        self._look(node, kind, runs)
        checking = kind is ast.If and _last(node.test) == "TYPE_CHECKING"  # pyright: ignore
        parts.append(kind.__name__)
        for name in _fields(kind):
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            parts.append(name)
            below = runs and not (checking and name == "body")
            if isinstance(value, ast.AST):
                self.read(value, below)
            elif isinstance(value, list):
                for part in value:
                    if not isinstance(part, ast.AST):
                        parts.append(repr(part))
                    # A string that stands alone is a docstring or does nothing.
                    elif not (type(part) is ast.Expr and _is_text(part.value)):
                        self.read(part, below)
            else:
                parts.append(repr(value))
        self._serving -= serves
        parts.append(")")

    def _look(self, node: Any, kind: type, runs: bool) -> None:
        if kind is ast.Attribute or kind is ast.Name:
            if _last(node) in _WALKS:
                self.walks = True
            if kind is ast.Attribute:
                self._chains.append(node)
        elif kind is ast.Import and runs:
            for alias in node.names:
                self._names.append(alias.name)
                first = alias.name.partition(".")[0]
                self._bound[alias.asname or first] = alias.name if alias.asname else first
        elif kind is ast.ImportFrom:
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                if not runs:
                    self.served[alias.asname or alias.name] = base
                    continue
                name = base if alias.name == "*" else f"{base}{'.' if node.module else ''}{alias.name}"
                self._names.append(name)
                self._bound[alias.asname or alias.name] = name
        elif kind is ast.Call and _last(node.func) in ("import_module", "__import__"):
            self._names += [part.value for part in node.args if _is_text(part)]
            self.walks |= not self._serving and not all(map(_is_text, node.args))

    def imports(self) -> Iterator[str]:
        """Dotted names of what may be imported, and of what is read from an imported module."""
        yield from self._names
        for node in self._chains:
            chain, head = [node.attr], node.value
            while isinstance(head, ast.Attribute):
                chain.append(head.attr)
                head = head.value
            if isinstance(head, ast.Name) and head.id in self._bound:
                yield ".".join([self._bound[head.id], *reversed(chain)])


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in _SKIPPED)


def _last(node: Any) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _follow(module: str, home: Path, found: dict[str, Path]) -> None:
    """Add a module, the packages it lies in, and all that these import."""
    path = _file_of(module, home)
    if path is None or module in found:
        return
    found[module] = path
    parent = module.rpartition(".")[0]
    if parent:
        _follow(parent, home, found)
    source = read_source(path.read_bytes())
    package = module if path.name == "__init__.py" else parent
    for name in source.imports:
        dots = len(name) - len(name.lstrip("."))
        if dots:
            name = ".".join([*package.split(".")[: len(package.split(".")) - dots + 1], name.lstrip(".")])
        _resolve(name, home, found)
    if source.walks:
        for entry in path.parent.iterdir():
            _follow(f"{package}.{entry.stem}", home, found)


def _resolve(name: str, home: Path, found: dict[str, Path], follow: bool = True) -> None:
    """Add what a dotted name stands for: its packages, the module, or the one that serves it on demand."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        path = _file_of(module, home)
        if path is None:
            owner = _file_of(".".join(parts[: count - 1]), home)
            served = read_source(owner.read_bytes()).served if owner and count > 1 else {}
            if parts[count - 1] in served:
                _resolve(f"{served[parts[count - 1]]}.{parts[count - 1]}", home, found, follow)
            return
        if follow:
            _follow(module, home, found)
        else:
            found[module] = path


def _file_of(module: str, home: Path) -> Path | None:
    first, *rest = module.split(".")
    if first != home.name:
        return None
    base = home.joinpath(*rest)
    for path in (base / "__init__.py", base.parent / f"{base.name}.py"):
        if path.is_file():
            return path
    return None


def _data_files(folder: Path) -> Iterator[Path]:
    """Files of a room that are no source, those in folders without sources too."""
    for path in folder.iterdir():
        if path.name.startswith((".", "__")) or path.name.endswith("~"):
            continue
        if path.is_file() and path.suffix not in _NO_DATA:
            yield path
        elif path.is_dir() and not any(path.glob("*.py")):
            yield from _data_files(path)


def is_ours(module: str | ModuleType) -> bool:
    """Whether a module belongs to this package."""
    name = module if isinstance(module, str) else module.__name__
    return name.partition(".")[0] == HOME.name
