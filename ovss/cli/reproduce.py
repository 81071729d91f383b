"""`ovss reproduce`: one command turns a configuration into tables, figures and a report."""

import argparse
import time
from pathlib import Path
from typing import Any

from ovss.cli.common import described, fault_to_stderr, show
from ovss.errors import InputError
from ovss.report import RECORD
from ovss.study.config import DEFAULT, list_configs, read_config
from ovss.study.places import INDEX, find_notebooks, named, prepare_folder

__all__ = ["add_command"]

REFERENCES = Path("reports")
"""Committed reference runs, one folder per study."""
RUNS = REFERENCES / "run"
"""Where a run writes by default; git ignores it."""
_SHOWN = 20
"""Differences that are printed."""


def add_command(commands: Any) -> None:
    """Add `reproduce`."""
    parser = commands.add_parser("reproduce", **described("run the study's notebooks and build its report"))
    parser.add_argument(
        "config",
        nargs="?",
        default=DEFAULT,
        metavar="CONFIG",
        help=f"a .toml file, or one of {', '.join(list_configs())} (default: {DEFAULT})",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="notebooks to run, such as 22, with what they need"
    )
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="notebooks at a time (default: by cores, at most 4)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: reports/run/NAME)")
    parser.add_argument(
        "--notebooks",
        type=Path,
        metavar="DIR",
        help="folder of the study notebooks (default: ./notebooks, else those of the package)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would run, and which data and weights are missing"
    )
    parser.add_argument(
        "--compare", type=Path, metavar="DIR", help="afterwards compare the tables with those of another report"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="largest difference of a number in points (default: what another processor can cause)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run the study; returns 0, or 1 when a notebook failed, a dry run found something missing, or a number drifted.

    A whole study of which the folder holds a reference (`reports/NAME`) is compared with it even without `--compare`;
    that only informs.
    """
    out = _check(arguments)
    from ovss.study.compare import compare_tables
    from ovss.study.config import load_config
    from ovss.study.missing import describe_plan
    from ovss.study.plan import find_templates, plan_study
    from ovss.study.run import run_study

    config = load_config(arguments.config)
    templates = find_templates(arguments.notebooks)
    if arguments.dry_run:
        text, complete = describe_plan(config, plan_study(config, templates, arguments.only))
        show(text)
        return 0 if complete else 1
    start = time.monotonic()
    result = run_study(config, out, templates, only=arguments.only, jobs=arguments.jobs)
    for failure in result.failures:
        fault_to_stderr(f"FAILED {failure.describe()}")
    done = "written" if result.rebuilt else "up to date"
    show(f"{out / INDEX}: {done} ({time.monotonic() - start:.1f} s)")
    if result.failures:
        return 1
    reference = arguments.compare or _reference(config.name, out)
    if reference is None or arguments.only:
        return 0
    drifted = compare_tables(reference, out, arguments.tolerance)
    for line in drifted[:_SHOWN]:
        fault_to_stderr(f"DRIFT {line}")
    if len(drifted) > _SHOWN:
        fault_to_stderr(f"DRIFT and {len(drifted) - _SHOWN} more")
    bound = "what another processor can cause" if arguments.tolerance is None else str(arguments.tolerance)
    show(f"{len(drifted) or 'no'} numbers differ from {reference} by more than {bound}")
    return 1 if drifted and arguments.compare else 0


def _check(arguments: argparse.Namespace) -> Path:
    """Refuse what can be refused before the libraries of a study are loaded, which takes seconds.

    Returns:
        Folder of the report; it exists unless the run is a dry one.

    Raises:
        InputError: Options that exclude each other, a configuration, notebook or folder that is not there or not right.
    """
    if arguments.compare is not None and arguments.only:
        raise InputError("--compare needs the tables of all notebooks; leave out --only")
    config = read_config(arguments.config)
    stems = [path.stem for path in find_notebooks(arguments.notebooks)]
    for prefix in [*arguments.only, *config.templates]:
        named(prefix, stems)
    out = arguments.out or RUNS / config.name
    if not arguments.dry_run:
        if arguments.compare is not None:
            from ovss.study.compare import reference_tables

            reference_tables(arguments.compare)
        prepare_folder(out)
    return out


def _reference(name: str, out: Path) -> Path | None:
    """The committed run of a study, where there is one and it is not the one just written."""
    folder = REFERENCES / name
    return folder if (folder / RECORD).is_file() and folder.resolve() != out.resolve() else None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value
