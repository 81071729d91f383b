"""`ovss train-tiny`: train the embedded model by its recipe."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovss.cli.common import described, note_to_stderr
from ovss.training.recipe import QUICK, SECOND, Recipe

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `train-tiny`."""
    parser = commands.add_parser("train-tiny", **described("train the embedded model by its recipe"))
    parser.add_argument("--quick", action="store_true", help="a short run that shows the whole loop in five minutes")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tiny"), metavar="DIR", help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="resume the interrupted run in DIR")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights of a finished run: the second run is made (see docs/tiny-search.md)",
    )
    parser.add_argument("--seed", type=int, help="initial weights and views (default: 0)")
    parser.add_argument(
        "--views",
        type=int,
        help=f"length of the run (default: {Recipe().views}; quick: {QUICK.views}; second: {SECOND.views})",
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="processes, 1 or 2 (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Train; returns 0, or 130 when the run was interrupted."""
    from ovss.training.train import load_recipe, run_training

    asked = SECOND if arguments.start else QUICK if arguments.quick else Recipe()
    base = load_recipe(arguments.out) if arguments.resume else asked
    given = {name: value for name in ("seed", "views") if (value := getattr(arguments, name)) is not None}
    done = run_training(
        replace(base, **given),
        arguments.out,
        threads=arguments.threads,
        resume=arguments.resume,
        start=arguments.start,
        report=note_to_stderr,
    )
    return 0 if done else 130
