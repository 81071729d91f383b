"""`ovss relabel`: saved scores become labels and numbers under other thresholds, scales, rules and words."""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import (
    STARTS_OVER,
    bars,
    described,
    left_behind,
    method_names,
    note_to_stderr,
    open_dataset,
    show,
    write_table,
)
from ovss.files.tables import to_csv, to_markdown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_command"]

_SWEPT: dict[str, dict[str, Any]] = {
    "protocol": {"help": "other protocols that make the same scores"},
    "variant": {"help": "vocabulary variants; their words must have saved scores"},
    "background": {"help": "background rules: none, threshold, channel, queries"},
    "threshold": {"type": float, "help": "background thresholds"},
    "logit_scale": {"type": float, "help": "factors of the cosines"},
    "area_rule": {"type": float, "help": "shares of the foreground up to which a class is dropped"},
    "metric": {"help": "metric rules: standard, cliptrase"},
}
"""Options that take several values; every combination gets its rows."""


def add_command(commands: Any) -> None:
    """Add `relabel`, which was called `rescore`."""
    text = "evaluate saved scores under other thresholds and words"
    parser = commands.add_parser("relabel", aliases=["rescore"], **described(text))
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run made with --keep-scores")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="methods of the run; default: all")
    parser.add_argument("--root", type=Path, help="folder of the data set, as its authors distribute it")
    parser.add_argument("--classes", type=Path, help="class file of data set 'folder'")
    for name, options in _SWEPT.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, nargs="+", dest=name, default=[None], metavar="V", **options)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table with full provenance as CSV, too")
    parser.set_defaults(run=_run)


@left_behind(lambda: STARTS_OVER)
def _run(arguments: argparse.Namespace) -> int:
    """Label under every combination of the options given and print one table; returns 0."""
    import pandas as pd

    from ovss.evaluation.relabel import relabel
    from ovss.evaluation.results import Evaluation

    facts = Evaluation.load(arguments.folder).facts
    dataset = open_dataset(arguments, facts["dataset"], facts["split"])
    options = [vars(arguments)[name] for name in _SWEPT]
    settings = [dict(zip(_SWEPT, values, strict=True)) for values in itertools.product(*options)]
    varied = [name for name in _SWEPT if len(vars(arguments)[name]) > 1]
    short, full = [], []
    for number, setting in enumerate(settings, 1):
        given = {name: value for name, value in setting.items() if value is not None}
        label = {name: setting[name] for name in varied}
        if len(settings) > 1:
            values = ", ".join(f"{name} {value}" for name, value in label.items())
            note_to_stderr(f"{number} of {len(settings)}: {values}")
        evaluation = relabel(
            arguments.folder, dataset, methods=method_names(arguments.methods or []) or None, progress=bars(), **given
        )
        short.append(_with_columns(evaluation.table(), label))
        full.append(_with_columns(evaluation.summary(), {f"set_{name}": value for name, value in given.items()}))
    show(to_markdown(pd.concat(short, ignore_index=True)).rstrip("\n"))
    if arguments.out is not None:
        write_table(arguments.out, to_csv(pd.concat(full, ignore_index=True)))
    return 0


def _with_columns(table: "pd.DataFrame", values: dict[str, Any]) -> "pd.DataFrame":
    """The table with columns of one value each in front."""
    for name, value in reversed(values.items()):
        table.insert(0, name, value)
    return table
