"""`ovss rescore`: saved scores labelled under other thresholds, scales, rules and words."""

import argparse
import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.cli.common import say, show
from ovss.cli.evaluate import dataset_from
from ovss.evaluation.records import write_bytes
from ovss.evaluation.relabel import relabel
from ovss.evaluation.results import Evaluation
from ovss.files.tables import to_csv, to_markdown

SWEPT: dict[str, dict[str, Any]] = {
    "protocol": {"help": "other protocols that make the same scores"},
    "variant": {"help": "vocabulary variants; their words must have been kept"},
    "background": {"help": "background rules: none, threshold, channel, queries"},
    "threshold": {"type": float, "help": "background thresholds"},
    "logit_scale": {"type": float, "help": "factors of the cosines"},
    "area_rule": {"type": float, "help": "fractions of the foreground below which a class is struck out"},
    "metric": {"help": "metric rules: standard, cliptrase"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run made with --keep-scores")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="methods of the run; default: all")
    parser.add_argument("--root", type=Path, help="folder of the data set, as its authors distribute it")
    parser.add_argument("--classes", type=Path, help="class file of data set 'folder'")
    for name, options in SWEPT.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, nargs="+", dest=name, default=[None], metavar="V", **options)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table with full provenance as CSV, too")


def run(arguments: argparse.Namespace) -> int:
    """Judge every combination of the options given and print one table; returns 0."""
    facts = Evaluation.load(arguments.run).facts
    dataset = dataset_from(argparse.Namespace(**vars(arguments) | {"data": facts["dataset"], "split": facts["split"]}))
    options = [vars(arguments)[name] for name in SWEPT]
    settings = [dict(zip(SWEPT, values, strict=True)) for values in itertools.product(*options)]
    varied = [name for name in SWEPT if len(vars(arguments)[name]) > 1]
    short, full = [], []
    for number, setting in enumerate(settings, 1):
        given = {name: value for name, value in setting.items() if value is not None}
        label = {name: setting[name] for name in varied}
        if len(settings) > 1:
            say(f"{number} of {len(settings)}: " + ", ".join(f"{name} {value}" for name, value in label.items()))
        evaluation = relabel(arguments.run, dataset, methods=arguments.methods, progress=True, **given)
        short.append(_labelled(evaluation.table(), label))
        full.append(_labelled(evaluation.summary(), {f"set_{name}": value for name, value in given.items()}))
    show(to_markdown(pd.concat(short, ignore_index=True)).rstrip("\n"))
    if arguments.out is not None:
        write_bytes(arguments.out, to_csv(pd.concat(full, ignore_index=True)).encode())
    return 0


def _labelled(table: pd.DataFrame, values: dict[str, Any]) -> pd.DataFrame:
    for name, value in reversed(values.items()):
        table.insert(0, name, value)
    return table
