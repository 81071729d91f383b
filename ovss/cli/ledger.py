"""`ovss ledger`: published against measured."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import described, method_names, show, write_table
from ovss.errors import InputError, suggest
from ovss.files.tables import text_table, to_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_command"]

_FILTERS = {"method": "methods", "dataset": "data sets", "arch": "architectures"}
"""Columns of the ledger by which cells can be chosen."""


def add_command(commands: Any) -> None:
    """Add `ledger`."""
    parser = commands.add_parser("ledger", **described("compare published with measured numbers"))
    parser.add_argument(
        "--results", nargs="+", default=[], metavar="PATH", help="summary.csv files, or folders of runs"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a cell is off without a recorded reason")
    for name, plural in _FILTERS.items():
        parser.add_argument(
            f"--{name}", nargs="+", default=[], metavar="NAME", help=f"show only cells of these {plural}"
        )
    parser.add_argument("--measured", action="store_true", help="show only cells that were measured")
    parser.add_argument(
        "--averages", action="store_true", help="show printed averages beside the mean of their cells instead"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the whole table as CSV")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the ledger; with --check returns 1 when a cell is off without a recorded reason."""
    from ovss.ledger import join, load_results, recompute, states, unexplained

    ledger = join(load_results(arguments.results))
    if arguments.averages:
        averages = recompute()
        show(_averages_as_text(averages))
        show(_conflicts_as_text(averages))
    else:
        chosen = _chosen(ledger, arguments)
        shown = chosen.loc[chosen["measured"].notna()] if arguments.measured or arguments.check else chosen
        if len(shown):
            show(_as_text(shown))
        show("; ".join(f"{count} {state}" for state, count in states(chosen).items()))
    if arguments.out is not None:
        write_table(arguments.out, to_csv(averages if arguments.averages else ledger))
    failing = unexplained(ledger)
    if arguments.check and len(failing):
        show(f"off without a recorded reason: {len(failing)}")
        return 1
    return 0


def _chosen(ledger: "pd.DataFrame", arguments: argparse.Namespace) -> "pd.DataFrame":
    """Cells of the methods, data sets and architectures that options name.

    Raises:
        InputError: The ledger has no cell of such a name.
    """
    for column in _FILTERS:
        wanted = method_names(getattr(arguments, column))
        known = sorted(set(ledger[column]))
        for name in wanted:
            if name not in known:
                raise InputError(f"no published number has {column} '{name}'.{suggest(name, known)}")
        if wanted:
            ledger = ledger.loc[ledger[column].isin(wanted)]
    return ledger


def _as_text(ledger: "pd.DataFrame") -> str:
    """A line per cell."""
    from ovss.ledger import KEY

    rows: list[tuple[str, ...]] = [
        (*KEY, "support", "towers", "published", "measured", "difference", "verdict", "source", "reason")
    ]
    for cell in ledger.to_dict("records"):
        numbers = (_number(cell["published"]), _number(cell["measured"]), _number(cell["difference"], "+.2f"))
        names = (str(cell[name]) for name in (*KEY, "support", "towers"))
        rows.append((*names, *numbers, cell["verdict"], cell["source"], cell["reason"]))
    return text_table(rows)


def _averages_as_text(averages: "pd.DataFrame") -> str:
    """A line per printed average."""
    rows: list[tuple[str, ...]] = [
        ("method", "arch", "parameters", "quantity", "printed", "recomputed", "cells", "outcome", "source", "note")
    ]
    for row in averages.to_dict("records"):
        rows.append(
            (
                *(str(row[name]) for name in ("method", "arch", "parameters", "quantity")),
                _number(row["printed"]),
                _number(row["recomputed"]),
                f"{row['found']} of {row['expected']}" if row["expected"] else "",
                *(str(row[name]) for name in ("outcome", "source", "note")),
            )
        )
    return text_table(rows)


def _conflicts_as_text(averages: "pd.DataFrame") -> str:
    """How many printed averages agree with their cells, and a line per conflict."""
    from ovss.ledger.averages import OUTCOMES

    outcomes = averages["outcome"].tolist()
    lines = ["; ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in OUTCOMES)]
    for row in averages.loc[averages["outcome"] == "conflict"].to_dict("records"):
        lines.append(
            f"conflict: {row['method']}, {row['source']}: printed {row['printed']:g}, its cells give "
            f"{row['recomputed']:.2f}; {row['note']}"
        )
    return "\n".join(lines)


def _number(value: float, form: str = ".2f") -> str:
    return "" if value != value else format(value, form)
