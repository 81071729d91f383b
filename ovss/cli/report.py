"""`ovss report`: render the site of a finished run again, or the README's results from it."""

import argparse
from pathlib import Path
from typing import Any

from ovss.cli.common import described, fault_to_stderr, show

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `report`."""
    parser = commands.add_parser("report", **described("build the report, or the README's table, from results"))
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("reports/run/tiny"), help="folder of a run (default: %(default)s)"
    )
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="write the results between the markers of this Markdown file instead",
    )
    parser.add_argument("--check", action="store_true", help="with --readme: write nothing, exit 1 when it is outdated")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Render; returns 1 when --check finds an outdated file."""
    from ovss.report.readme import render_readme
    from ovss.report.site import rebuild_site

    if arguments.readme is None:
        if arguments.check:
            fault_to_stderr("ovss report: --check goes with --readme")
            return 2
        pages = rebuild_site(arguments.folder)
        show(f"{arguments.folder / 'index.html'}: {len(pages)} files written")
        return 0
    changed = render_readme(arguments.readme, arguments.folder, write=not arguments.check)
    if not changed:
        show(f"{arguments.readme}: up to date")
        return 0
    if arguments.check:
        show(f"{arguments.readme}: results differ from {arguments.folder / 'tables'}; run without --check")
        return 1
    show(f"{arguments.readme}: written")
    return 0
