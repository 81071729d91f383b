"""What produced a number: identities of everything that can move it."""

import json
import platform
from importlib import metadata
from typing import Any

from ovss.provenance.sources import source_digest

_LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "scikit_learn": "scikit-learn",
    "pillow": "pillow",
}


def code_hash(*makers: str) -> str:
    """SHA-256 over the sources and data files that make a number.

    Args:
        makers: Modules that make it; all that they import counts, whatever only shows numbers does not.
    """
    return source_digest(*makers)


def library_versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that compute."""
    libraries = {name: metadata.version(package) for name, package in _LIBRARIES.items()}
    return {"ovss": metadata.version("ovss"), "python": platform.python_version(), **libraries}


def as_columns(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts as flat table cells: dictionaries and lists become canonical JSON."""
    return {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in facts.items()
    }
