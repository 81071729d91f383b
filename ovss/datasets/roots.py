"""Where data sets lie: argument, environment, configuration file, in that order."""

import os
import re
from pathlib import Path

import platformdirs

from ovss.errors import InputError
from ovss.files.text import read_toml

__all__ = ["find_root"]


def config_file() -> Path:
    """The user's configuration file; it need not exist."""
    return Path(platformdirs.user_config_dir("ovss", appauthor=False)) / "config.toml"


def find_root(name: str, root: str | Path | None = None) -> tuple[Path, str] | None:
    """The folder of a data set and who says so.

    The first of: `root`; `$OVSS_DATA_<NAME>`; `$OVSS_DATA/<name>`, or `$OVSS_DATA` itself where it has no such
    folder; the entry `<name>` in table `[datasets]` of the configuration file, or `root` there, used like `$OVSS_DATA`.

    Args:
        name: Data set.
        root: Folder that a caller names.

    Returns:
        Folder and source; None when nothing names one.

    Raises:
        InputError: The folder that is named does not exist, or the configuration file is malformed.
    """
    own = "OVSS_DATA_" + re.sub(r"\W", "_", name).upper()
    configured = _configured()
    options = (
        (root, "argument", False),
        (os.environ.get(own), f"${own}", False),
        (os.environ.get("OVSS_DATA"), "$OVSS_DATA", True),
        (configured.get(name), str(config_file()), False),
        (configured.get("root"), str(config_file()), True),
    )
    for folder, source, shared in options:
        if folder:
            path = Path(folder).expanduser()
            if not path.is_dir():
                raise InputError(f"folder '{path}' of data set {name} (from {source}) does not exist")
            return (path / name if shared and (path / name).is_dir() else path), source
    return None


def require_root(name: str, root: str | Path | None = None) -> Path:
    """As `find_root`, for data sets that cannot do without.

    Raises:
        InputError: Nothing names a folder.
    """
    found = find_root(name, root)
    if found is None:
        own = "OVSS_DATA_" + re.sub(r"\W", "_", name).upper()
        raise InputError(
            f"where is data set {name}? Give root (--root DIR), set ${own} or $OVSS_DATA, "
            f"or write {name} = \"DIR\" under [datasets] in '{config_file()}'"
        )
    return found[0]


def _configured() -> dict[str, str]:
    path = config_file()
    if not path.is_file():
        return {}
    table = read_toml(path, "configuration file").get("datasets", {})
    if not isinstance(table, dict) or any(not isinstance(value, str) for value in table.values()):
        raise InputError(f"configuration file '{path}': [datasets] must hold folders as strings")
    return table
