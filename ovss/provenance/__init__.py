"""What produced a number: code, libraries and data files that can move it.

Words of this room
    maker: a module that computes counts or writes outputs; all that it imports counts as what makes the number.
    code hash: SHA-256 over the sources and data files that makers reach by import.
    facts: the columns of a result row that say where it comes from.
"""

import json
import platform
from importlib import metadata
from typing import Any

from ovss.provenance.sources import source_digest

__all__ = ["as_columns", "code_hash", "library_versions", "protocol_words"]

_COUNTING = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "scikit_learn": "scikit-learn",
    "pillow": "pillow",
}
"""Libraries that can move a pixel's label, by their column."""
_SHORT = 8
"""Digits of a hash that people can compare: of a thousand protocols two agree in them with a chance of 1 in 8000."""
_SHOWING = {name: name for name in ("scipy", "pandas", "matplotlib", "seaborn")}
"""Libraries that make intervals, tables and figures of counts."""


def code_hash(*makers: str) -> str:
    """SHA-256 over the sources and data files that make a number.

    Args:
        makers: Modules that make it; all that they import counts, whatever only shows numbers does not.
    """
    return source_digest(*makers)


def library_versions(*, shown: bool = False) -> dict[str, str]:
    """Versions of this package, of Python and of the libraries that a result depends on.

    Args:
        shown: Also those that can change how counts are shown, but not the counts.
    """
    packages = _COUNTING | _SHOWING if shown else _COUNTING
    libraries = {name: metadata.version(package) for name, package in packages.items()}
    return {"ovss": metadata.version("ovss"), "python": platform.python_version(), **libraries}


def as_columns(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts as flat table cells: dictionaries and lists become canonical JSON."""
    return {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in facts.items()
    }


def protocol_words(name: str, protocol_hash: str) -> str:
    """A protocol as tables name it: two that differ in any setting have other words, whatever their names.

    Args:
        name: Its name.
        protocol_hash: Its hash.

    Example:
        >>> protocol_words("window224", "0123456789abcdef")
        'window224 01234567'
    """
    return f"{name} {protocol_hash[:_SHORT]}"
