"""Which processes work in a folder."""

import os
from pathlib import Path


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder lies in a folder; read from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
