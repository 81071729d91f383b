"""Where things are, whichever folder a test lies in."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"
"""Reference material beside the repository; not everybody has it."""


def shared_path(*parts: str) -> Path:
    """A path under `../shared`; skips the test, saying so, when it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference material ../shared/{'/'.join(parts)} is not on this machine")
    return path
