"""`ovss notebooks`: copy walkthroughs, solutions and study templates out of the package."""

import argparse
from pathlib import Path
from typing import Any

from ovss.cli.common import described, show
from ovss.study.places import copy_notebooks

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `notebooks`."""
    parser = commands.add_parser("notebooks", **described("copy the walkthroughs and study notebooks into a folder"))
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("notebooks"), metavar="DIR", help="where to (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace notebooks that were changed there")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Copy; returns 0."""
    written = copy_notebooks(arguments.folder, replace=arguments.force)
    for path in written:
        show(str(path))
    if not written:
        show(f"{arguments.folder}: up to date")
        return 0
    show(f"{len(written)} files written; 'jupyter lab {arguments.folder}' opens them")
    return 0
