"""Code of methods from outside this package, as part of a run's key: of a notebook, a file or another package.

What is hashed is the code that runs (instructions, constants, defaults) rather than text, so that a file which was
edited after its import cannot pass for what computed the numbers, and comments, docstrings and layout do not count.
From the class it continues to its base classes, to the values it closes over, and to the globals that its functions
name, with their values: constants, helpers, attributes of modules of one's own.
"""

import builtins
import dataclasses
import dis
import enum
import functools
import linecache
import reprlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from ovss.errors import InputError
from ovss.files import digest
from ovss.provenance.sources import HOME, is_ours, source_digest

__all__ = ["outside_code"]

_SCALARS = (type(None), bool, int, float, complex, str, bytes, type(...), PurePath, range, torch.dtype, torch.device)
_GENERATED = {"<string>", dataclasses.__file__, reprlib.__file__}
"""File names of the methods that `dataclass` writes; from Python 3.13 on `reprlib` wraps one of them."""
_CLASS_NOISE = {"__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}
_CLASS_NOISE |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl"}
_CLASS_NOISE |= {
    "__parameters__",
    "__orig_bases__",
    "__annotate__",
    "__annotations__",
    "__annotate_func__",
    "__annotations_cache__",
}
_INSTALLED = {"site-packages", "dist-packages"}


def outside_code(methods: Mapping[str, object], *, needed: bool) -> dict[str, str]:
    """Digest of the code of each method whose class, or a base of it, was not written in this package.

    Args:
        methods: Methods by label.
        needed: Whether results are kept under the digest.

    Returns:
        Label -> SHA-256; methods of this package, whose code is hashed with it, are left out.

    Raises:
        InputError: `needed`, and the source of a method cannot be had, or it uses an object whose value cannot be
            determined.
    """
    found = {}
    for label, method in methods.items():
        kind = type(method)
        packages = _installed_packages(kind)
        if not packages and not any(_is_own(part.__module__, part.__qualname__) for part in kind.__mro__):
            continue
        reader = _Reader(label, needed, packages)
        code = reader.read(kind, kind.__qualname__)
        found[label] = digest([code, source_digest(*sorted(reader.modules))])
    return found


class _Reader:
    """Describes objects by digests that follow from their contents.

    Args:
        method: Label of the method, for messages.
        needed: Whether what cannot be described is refused.
        packages: Installed packages whose code is described as the user's own is.

    Attributes:
        modules: Modules of this package that what was read uses.
    """

    def __init__(self, method: str, needed: bool, packages: Set[str]) -> None:
        self.method, self.needed, self.packages = method, needed, packages
        self.modules: set[str] = set()
        self._found: dict[int, Any] = {}
        self._held: list[object] = []

    def read(self, value: Any, name: str) -> Any:
        """Describe a value; `name` is what the code calls it."""
        if isinstance(value, _SCALARS):
            return [type(value).__name__, str(value) if isinstance(value, PurePath) else repr(value)]
        if id(value) not in self._found:
            self._held.append(value)  # an identity is unique only as long as its object lives
            self._found[id(value)] = ["itself", type(value).__name__, getattr(value, "__qualname__", "")]
            self._found[id(value)] = digest(self._describe(value, name))
        return self._found[id(value)]

    def _describe(self, value: Any, name: str) -> Any:
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value, name)
        if isinstance(value, types.ModuleType):
            return self._module(value, name)
        return self._data(value, name)

    def _class(self, cls: type) -> Any:
        if not self._is_read(cls.__module__, cls.__qualname__):
            return self._foreign(cls.__module__, cls.__qualname__)
        parts = []
        for name, value in sorted(vars(cls).items()):
            if name in _CLASS_NOISE or (isinstance(value, types.FunctionType) and _is_generated(cls, value)):
                continue
            parts.append([name, self.read(value, f"{cls.__qualname__}.{name}")])
        fields = getattr(cls, "__dataclass_fields__", {})
        defaults = [[name, self.read(field.default_factory, name)] for name, field in fields.items() if _is_made(field)]
        return ["class", cls.__qualname__, [self.read(base, base.__name__) for base in cls.__bases__], parts, defaults]

    def _function(self, function: types.FunctionType, name: str) -> Any:
        if not self._is_read(function.__module__ or "", function.__qualname__):
            return self._foreign(function.__module__, function.__qualname__)
        code = function.__code__
        if self.needed and not linecache.getlines(code.co_filename, function.__globals__):
            self._refuse(f"the source of '{name}' cannot be had (it was made from text in '{code.co_filename}')")
        used = [[path, self.read(value, path)] for path, value in _globals_used(function)]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closed = [[cell, self.read(content.cell_contents, cell)] for cell, content in cells if _is_filled(content)]
        defaults = [self.read(value, name) for value in (function.__defaults__, function.__kwdefaults__)]
        rest = self.read(dict(function.__dict__), name) if function.__dict__ else None
        return ["function", _instructions(code), used, closed, defaults, rest]

    def _module(self, module: types.ModuleType, name: str) -> Any:
        if type(module) is not types.ModuleType or not self._is_read(module.__name__):
            return self._foreign(module.__name__, "")
        values = {key: value for key, value in vars(module).items() if not key.startswith("__")}
        return ["module", module.__name__, self.read(values, name)]

    def _is_read(self, module: str, name: str = "") -> bool:
        return module.partition(".")[0] in self.packages or _is_own(module, name)

    def _foreign(self, module: str, name: str) -> Any:
        if is_ours(module):
            self.modules.add(module)
        return ["from", module, name]

    def _data(self, value: Any, name: str) -> Any:
        kind = type(value)
        if isinstance(value, enum.Enum):
            return [kind.__qualname__, value.name]
        if isinstance(value, list | tuple):
            return [kind.__qualname__, [self.read(part, name) for part in value]]
        if isinstance(value, set | frozenset):
            return [kind.__qualname__, sorted(repr(self.read(part, name)) for part in value)]
        if isinstance(value, dict | types.MappingProxyType):
            return [kind.__qualname__, [[self.read(key, name), self.read(part, name)] for key, part in value.items()]]
        if isinstance(value, torch.Tensor):
            content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return ["tensor", str(value.dtype), list(value.shape), self.read(content, name)]
        if isinstance(value, np.ndarray | np.generic) and not np.asarray(value).dtype.hasobject:
            array = np.asarray(value)
            return ["array", str(array.dtype), list(array.shape), digest(array.tobytes().hex())]
        if isinstance(value, staticmethod | classmethod):
            return [kind.__name__, self.read(value.__func__, name)]
        if isinstance(value, property):
            return ["property", [self.read(part, name) for part in (value.fget, value.fset, value.fdel)]]
        if isinstance(value, functools.partial):
            return ["partial", self.read([value.func, value.args, value.keywords], name)]
        if isinstance(value, types.MethodType):
            return ["method", self.read([value.__func__, value.__self__], name)]
        if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            return ["built in", value.__qualname__]
        if isinstance(value, types.MemberDescriptorType | types.GenericAlias | types.UnionType | np.ufunc | slice):
            return [kind.__name__, repr(value)]
        return self._object(value, name)

    def _object(self, value: Any, name: str) -> Any:
        kind = type(value)
        known = getattr(value, "weights_hash", None) or getattr(value, "hash", None)
        if is_ours(kind.__module__) and isinstance(known, str):
            return [self.read(kind, name), known]
        if kind.__module__ == "re" or kind.__module__ == "typing":
            return [kind.__qualname__, repr(value)]
        if hasattr(value, "__wrapped__"):  # functools.cache and others that keep what they wrap
            return ["wrapped", kind.__qualname__, self.read(value.__wrapped__, name)]
        if hasattr(value, "__dict__") and kind.__module__ != "builtins":
            return [self.read(kind, name), self.read(vars(value), name)]
        if self.needed:
            self._refuse(f"the value of '{name}' ({kind.__module__}.{kind.__qualname__}) cannot be determined")
        return ["unknown", kind.__qualname__]

    def _refuse(self, why: str) -> None:
        raise InputError(
            f"method '{self.method}': {why}, so that a later run could take old results for its own; "
            "put the method in a file and import it, or leave out the output folder"
        )


def _installed_packages(kind: type) -> set[str]:
    """Installed packages that a method comes from: they offer it by entry point, and an upgrade may change it."""
    classes = [part for part in kind.__mro__ if any(is_ours(base.__module__) for base in part.__mro__)]
    return {part.__module__.partition(".")[0] for part in classes if not is_ours(part.__module__)} - {
        "__main__",
        "builtins",
    }


def _is_own(module: str, name: str = "") -> bool:
    """Whether the user wrote it: neither this package, nor Python, nor an installed library did.

    Args:
        module: Name of a module.
        name: Qualified name of something that says it lies there.
    """
    if module == "builtins":  # what text run without a module name says of itself, too
        return not hasattr(builtins, name.partition(".")[0])
    path = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" or path is None:
        return module not in sys.stdlib_module_names
    if Path(path).is_relative_to(HOME) or _INSTALLED & set(Path(path).parts):
        return False
    return not Path(path).is_relative_to(sysconfig.get_path("stdlib"))


def _is_generated(cls: type, function: types.FunctionType) -> bool:
    special = function.__name__.startswith("__") and dataclasses.is_dataclass(cls)
    return special and function.__code__.co_filename in _GENERATED


def _is_made(field: dataclasses.Field) -> bool:  # pyright: ignore
    return field.default_factory is not dataclasses.MISSING


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _codes(part)


def _instructions(code: types.CodeType) -> Any:
    """A code object as its instructions, without positions and docstring."""
    lines = []
    for step in dis.get_instructions(code):
        value = step.argval
        if isinstance(value, types.CodeType):
            value = _instructions(value)
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        else:
            value = repr(value)
        lines.append([step.opname, value])
    return [code.co_name, code.co_argcount, code.co_kwonlyargcount, code.co_flags & 0x2C, list(code.co_varnames), lines]


def _globals_used(function: types.FunctionType) -> Iterable[tuple[str, Any]]:
    """Globals that a function and those inside it name, read on to what they name of modules: path and value."""
    found: dict[str, Any] = {}
    for code in _codes(function.__code__):
        steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG", "NOP")]
        for number, step in enumerate(steps):
            if step.opname not in ("LOAD_GLOBAL", "LOAD_NAME") or step.argval not in function.__globals__:
                continue
            path, value = step.argval, function.__globals__[step.argval]
            for after in steps[number + 1 :]:
                if after.opname not in ("LOAD_ATTR", "LOAD_METHOD") or not isinstance(value, types.ModuleType):
                    break
                if not hasattr(value, after.argval):
                    break
                path, value = f"{path}.{after.argval}", getattr(value, after.argval)
            found[path] = value
    return sorted(found.items())
