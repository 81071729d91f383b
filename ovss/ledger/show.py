"""`ovss ledger`: published against measured."""

import argparse
from pathlib import Path

import pandas as pd

from ovss.files import atomic_write
from ovss.ledger import KEY, join, load_results, unexplained
from ovss.protocols.show import aligned
from ovss.tables import to_csv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--results", nargs="+", default=[], metavar="PATH", help="summary.csv files, or folders of runs"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a cell is off without a recorded reason")
    parser.add_argument("--measured", action="store_true", help="show only cells that were measured")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the whole ledger as CSV")


def run(arguments: argparse.Namespace) -> int:
    """Print the ledger; with --check returns 1 when a cell is off without a recorded reason."""
    ledger = join(load_results(arguments.results))
    shown = ledger.loc[ledger["verdict"] != "not run"] if arguments.measured or arguments.check else ledger
    if len(shown):
        print(as_text(shown))
    counts = ledger["verdict"].value_counts()
    print("; ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("within", "off", "not run")))
    if arguments.out is not None:
        with atomic_write(arguments.out, "w", newline="") as file:
            file.write(to_csv(ledger))
    failing = unexplained(ledger)
    if arguments.check and len(failing):
        print(f"off without a recorded reason: {len(failing)}")
        return 1
    return 0


def as_text(ledger: pd.DataFrame) -> str:
    """A line per cell."""
    rows: list[tuple[str, ...]] = [(*KEY, "published", "measured", "difference", "verdict", "reason")]
    for cell in ledger.to_dict("records"):
        ran = cell["verdict"] != "not run"
        numbers = (f"{cell['measured']:.2f}", f"{cell['difference']:+.2f}") if ran else ("", "")
        names = (str(cell[name]) for name in KEY)
        rows.append((*names, f"{cell['published']:.2f}", *numbers, cell["verdict"], cell["reason"]))
    return aligned(rows)
