"""Methods from outside the package: of a file that is named, and of installed packages by entry point.

Results of both are kept under a key that covers their code, see `ovss.provenance.outside_code`.
"""

import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from ovss.errors import InputError
from ovss.files import digest
from ovss.methods.registry import list_methods, method_class

__all__ = ["load_plugin"]

_GROUP = "ovss.methods"


def load_installed() -> None:
    """Import what entry points of the group `ovss.methods` name, modules that register methods or such classes.

    One that fails is left out with a warning that names it.
    """
    for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name):
        try:
            point.load()
        except Exception as error:
            line = f"methods of entry point '{point.name}' ({point.value}) cannot be loaded: {_one_line(error)}"
            warnings.warn(line, UserWarning, stacklevel=2)


def load_plugin(path: str | Path) -> list[str]:
    """Run a Python file that registers methods.

    Args:
        path: The file. It is read anew each time, whatever Python has cached of it.

    Returns:
        Names of the methods that it registers.

    Raises:
        InputError: It does not exist, fails, or registers no method.
    """
    file = Path(path)
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"plugin '{path}' must be an existing .py file")
    place = str(file.resolve())
    module = ModuleType(f"ovss_plugin_{file.stem}_{digest(place)[:8]}")
    module.__file__ = place
    sys.modules[module.__name__] = module  # dataclasses look there for the types of fields
    try:
        exec(compile(file.read_bytes(), place, "exec"), vars(module))
    except Exception as error:
        del sys.modules[module.__name__]
        raise InputError(f"plugin '{path}': {_line(error, place)}{_one_line(error)}") from error
    added = [name for name in list_methods() if method_class(name).__module__ == module.__name__]
    if not added:
        raise InputError(f"plugin '{path}' registers no method; write @ovss.register above a subclass of ovss.Method")
    return added


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _line(error: BaseException, file: str) -> str:
    """Line of the plugin where an error arose, where it did."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""
