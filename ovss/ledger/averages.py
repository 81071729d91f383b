"""Averages as their sources print them, and the same averages from the cells.

Papers compare methods by one number, the mean over eight data sets. Where a printed mean and its own cells disagree,
one of them is wrong or the mean is over other data sets. Ablations are printed as such means, so they are listed here,
too.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.errors import InputError
from ovss.ledger.published import FOLDER, UNKNOWN, choose, load_published, mapping, percent, read_rows
from ovss.methods import create_method, list_methods
from ovss.protocols import list_protocols

__all__ = ["OUTCOMES"]

SETS = {
    "eight": (*("voc21", "context60", "coco_object", "voc20", "context59", "coco_stuff171", "cityscapes", "ade150"),),
    "cliptrase-nine": (
        *("coco_stuff171", "voc20", "context59", "context459", "ade150", "ade847", "coco_object", "voc21", "context60"),
    ),
    UNKNOWN: (),
}
"""Groups of data sets over which sources average."""
COLUMNS = (
    *("method", "arch", "weights", "towers", "protocol", "parameters", "datasets", "quantity", "printed"),
    *("source", "cells", "note"),
)
OUTCOMES = ("agrees", "conflict", "cells missing", "no cells", "no value")


def load_averages(path: str | Path | None = None) -> pd.DataFrame:
    """Printed averages, one per row.

    Args:
        path: A CSV file with the columns below; None: the ledger's own.

    Returns:
        Text columns method, arch, weights, towers, protocol (only cells under it; empty: any), parameters (JSON: what
        an ablation changes), datasets (a key of `SETS`), quantity ("mean", or "gain": a difference of means), source,
        cells (beginning of the source whose cells were averaged; empty: none are known) and note; `printed` in percent
        as text, so that its decimals stay, empty where none is known.

    Raises:
        InputError: The file cannot be read, or a row is malformed; names file and line.
    """
    file = FOLDER / "averages.csv" if path is None else Path(path)
    rows = []
    for line, row in read_rows(file, COLUMNS):
        where = f"{file}, line {line}"
        percent(row["printed"], "printed", where)
        choose(row, "datasets", SETS, where)
        choose(row, "quantity", ("mean", "gain"), where)
        choose(row, "protocol", {*list_protocols(), ""}, where)
        parameters = mapping(row["parameters"], "parameters", where)
        if row["method"] in list_methods():
            try:
                create_method(row["method"], **parameters)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        if not row["source"]:
            raise InputError(f"{where}: source is empty")
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def recompute(averages: pd.DataFrame | None = None, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every printed average beside the mean of its cells.

    Two roundings are allowed for: half a unit of the printed number's last decimal, and half a unit of the cells' last
    decimal, because a mean of rounded cells may be that far from the mean of the exact ones.

    Args:
        averages: As `load_averages` returns it; None: the ledger's own.
        published: As `load_published` returns it; None: the ledger's own.

    Returns:
        The columns of `averages`, with printed as a number, and recomputed (mean of the cells found, percent), found
        and expected (numbers of cells) and outcome: "agrees", "conflict", "cells missing" (fewer cells have a value
        than were averaged), "no cells" (none is known) or "no value" (nothing printed is known).
    """
    averages = load_averages() if averages is None else averages
    published = load_published() if published is None else published
    cells = published.loc[published["value"].notna() & (published["metric"] == "mIoU")]
    rows = [row | _from_cells(row, cells) for row in averages.to_dict("records")]
    return pd.DataFrame(rows).astype({"printed": float, "recomputed": float})


def _from_cells(row: dict[Any, Any], cells: pd.DataFrame) -> dict[str, Any]:
    expected = SETS[row["datasets"]]
    values = _averaged(row, cells, expected)
    mean = math.fsum(values) / len(values) if values else float("nan")
    if not row["printed"]:
        outcome, printed = "no value", float("nan")
    else:
        printed = float(row["printed"])
        allowed = (_unit(row["printed"]) + max((_unit(str(value)) for value in values), default=0)) / 2
        if not values:
            outcome = "no cells"
        elif len(values) < len(expected):
            outcome = "cells missing"
        else:
            outcome = "agrees" if abs(printed - mean) <= allowed + 1e-9 else "conflict"
    return {
        "printed": printed,
        "recomputed": mean,
        "found": len(values),
        "expected": len(expected),
        "outcome": outcome,
    }


def _averaged(row: dict[Any, Any], cells: pd.DataFrame, datasets: tuple[str, ...]) -> list[float]:
    """Values of the cells that a printed mean was made of."""
    if not row["cells"] or row["parameters"] or row["quantity"] != "mean":
        return []
    mask = cells["source"].str.startswith(row["cells"]) & cells["dataset"].isin(datasets)
    for name in ("method", "arch", "weights", "towers"):
        mask &= cells[name] == row[name]
    if row["protocol"]:
        mask &= cells["protocol"] == row["protocol"]
    found = cells.loc[mask]
    if found["dataset"].duplicated().any():
        raise InputError(f"average of {row['method']} ({row['source']}): several cells of one data set match")
    return [float(value) for value in found["value"]]


def _unit(text: str) -> float:
    """Weight of a decimal number's last digit: 0.1 for "32.7"."""
    return 10.0 ** -len(text.partition(".")[2])
