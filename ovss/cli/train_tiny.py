"""`ovss train-tiny`: train the embedded model by its recipe."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovss import tiny
from ovss.cli.common import described, note_to_stderr
from ovss.training.recipe import QUICK, QUICK_SECOND, SECOND, Recipe

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `train-tiny`."""
    parser = commands.add_parser("train-tiny", **described("train the embedded model by its recipe, in two runs"))
    parser.add_argument("--quick", action="store_true", help="short runs that show the whole way in six minutes")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/tiny"),
        metavar="DIR",
        help="folder to write; the first run goes to its folder first/ (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="resume the interrupted run in DIR")
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="weights of a first run: only the second run is made"
    )
    parser.add_argument("--seed", type=int, help="initial weights and views of both runs (default: 0)")
    parser.add_argument(
        "--views", type=int, help=f"length of the first run (default: {Recipe().views}; quick: {QUICK.views})"
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="processes, 1 or 2 (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Train; returns 0, or 130 when a run was interrupted."""
    from ovss.training.train import CHECKPOINT, load_recipe, run_training

    first, second = (QUICK, QUICK_SECOND) if arguments.quick else (Recipe(), SECOND)
    own, before = arguments.out, arguments.out / "first"
    seed = {} if arguments.seed is None else {"seed": arguments.seed}
    views = {} if arguments.views is None else {"views": arguments.views}

    def train(recipe: Recipe, folder: Path, start: Path | None, **changed: int) -> bool:
        resume = arguments.resume and ((folder / CHECKPOINT).exists() or folder == before)
        recipe = replace(load_recipe(folder) if resume else recipe, **changed)
        return run_training(
            recipe, folder, threads=arguments.threads, resume=resume, start=start, report=note_to_stderr
        )

    start = arguments.start or before / tiny.WEIGHTS.name
    if arguments.start is None and not start.exists() and not train(first, before, None, **seed, **views):
        return 130
    return 0 if train(second, own, start, **seed) else 130
