"""What produced a number: identities of everything that can move it."""

import json
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ovss import __version__
from ovss.files import digest, file_digest

_LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "scikit_learn": "scikit-learn",
    "pillow": "pillow",
}
_PRESENTATION = (
    "analysis",
    "bench.py",
    "cli.py",
    "commands",
    "explorer.py",
    "figures",
    "ledger",
    "notebooks.py",
    "palette.py",
    "playground.py",
    "report",
    "statistics.py",
    "study",
    "tables.py",
)
"""Parts of the package that only look at results; a change there must not throw finished records away."""


@cache
def code_hash() -> str:
    """SHA-256 over the package's sources and data files, but for the parts that only present results."""
    root = Path(__file__).parent
    files = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix in (".py", ".toml", ".json") and path.relative_to(root).parts[0] not in _PRESENTATION
    ]
    return digest([[path.relative_to(root).as_posix(), file_digest(path)] for path in files])


def library_versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that compute."""
    libraries = {name: metadata.version(package) for name, package in _LIBRARIES.items()}
    return {"ovss": __version__, "python": platform.python_version(), **libraries}


def as_columns(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts as flat table cells: dictionaries and lists become canonical JSON."""
    return {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in facts.items()
    }
