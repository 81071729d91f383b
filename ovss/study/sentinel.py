"""The file that a finished task writes last."""

import json
from pathlib import Path
from typing import Any

from ovss.files import file_digest

SENTINEL = "done.json"


def read_sentinel(folder: Path) -> dict[str, Any] | None:
    """What a finished task wrote last; None when it has not finished or one of its files is gone or changed."""
    path = folder / SENTINEL
    if not path.is_file():
        return None
    done = json.loads(path.read_text(encoding="utf-8"))
    for name, expected in done["files"].items():
        file = folder / name
        if not file.is_file() or file_digest(file) != expected:
            return None
    return done
