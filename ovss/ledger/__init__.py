"""The ledger: what was published, beside what was measured here."""

import json
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ovss.datasets import BENCHMARKS
from ovss.errors import InputError
from ovss.methods import create_method
from ovss.methods.tuned import under_protocol
from ovss.metrics import MEASURES
from ovss.protocols import list_protocols, load_protocol

__all__ = ["KEY", "join", "load_published", "load_results", "tidy", "unexplained"]

FOLDER = Path(__file__).parent
KEY = ["method", "arch", "weights", "protocol", "dataset", "metric"]
"""What identifies a cell."""
ROUNDING = 1e-6


def load_published() -> pd.DataFrame:
    """Published results: the columns of `KEY`, `value` in percent, `source` and `note`."""
    return pd.read_csv(FOLDER / "published.csv", dtype={"note": str}, keep_default_na=False)


def load_results(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Measured cells from evaluation summaries.

    Args:
        paths: CSV files, or folders, in which every `summary.csv` is taken.

    Raises:
        InputError: A path does not exist, holds no summary, or a file is no evaluation summary.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.rglob("summary.csv")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise InputError(f"'{path}' {'holds no summary.csv' if path.is_dir() else 'does not exist'}")
        files += found
    frames = []
    for file in files:
        try:
            frames.append(tidy(pd.read_csv(file, keep_default_na=False)))
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"results '{file}' cannot be read: {error}") from error
        except InputError as error:
            raise InputError(f"results '{file}': {error}") from None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*KEY, "value"])


def tidy(measured: pd.DataFrame) -> pd.DataFrame:
    """Measured cells, one per row, from an evaluation's summary or from a table that is long already.

    Args:
        measured: Columns method, arch (or model), weights (or pretrained), protocol, dataset, and either metric and
            value or one column per measure. Further columns are kept.

    Raises:
        InputError: A column is missing, or a value is no number.
    """
    table = measured.rename(columns={"model": "arch", "pretrained": "weights"})
    if "metric" not in table.columns:
        measures = [name for name in MEASURES if name in table.columns]
        table = table.melt(
            id_vars=[name for name in table.columns if name not in measures],
            value_vars=measures,
            var_name="metric",
            value_name="value",
        )
    missing = [name for name in (*KEY, "value") if name not in table.columns]
    if missing:
        raise InputError(f"no evaluation summary: column '{missing[0]}' is missing")
    values = pd.Series(pd.to_numeric(table["value"], errors="coerce"))
    if values.isna().any():
        wrong = table.loc[values.isna(), "value"].tolist()[0]
        raise InputError(f"column 'value' holds {wrong!r}, which is no number")
    arch = table["arch"].astype(str).str.replace("/", "-").str.removesuffix("-quickgelu")
    weights = table["weights"].astype(str).str.partition("=")[0]
    return table.assign(arch=arch, weights=weights, value=values)


def join(measured: pd.DataFrame) -> pd.DataFrame:
    """The ledger: every published cell with what was measured for it.

    A measured cell counts only where it is the same experiment: the method's default parameters, the shipped protocol
    and vocabulary, the whole validation part; otherwise the cell stays "not run" and the reason says what differs.

    Args:
        measured: As `tidy` takes it.

    Returns:
        The published table with columns published, measured, difference, tolerance (percentage points), verdict
        ("within", "off" or "not run") and reason.
    """
    known, published = _known(), load_published().to_dict("records")
    values, obstacles = _measured(measured, {_key(cell) for cell in published})
    rows = []
    for cell in published:
        value, obstacle = values.get(_key(cell)), obstacles.get(_key(cell), "")
        difference = None if value is None else value - cell["value"]
        tolerance = known["tolerance"].get(cell["dataset"], known["tolerance"]["default"])
        verdict = "not run" if difference is None else "within" if abs(difference) <= tolerance + ROUNDING else "off"
        rows.append(
            {name: cell[name] for name in KEY}
            | {
                "published": cell["value"],
                "measured": value,
                "difference": difference,
                "tolerance": tolerance,
                "verdict": verdict,
                "reason": "" if verdict == "within" else obstacle or _reason(cell, known["reason"]),
                "source": cell["source"],
                "note": cell["note"],
            }
        )
    return pd.DataFrame(rows).astype({"measured": float, "difference": float})


def unexplained(ledger: pd.DataFrame) -> pd.DataFrame:
    """Cells that are off without a recorded reason."""
    return ledger.loc[(ledger["verdict"] == "off") & (ledger["reason"] == "")]


def _key(row: dict[Any, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _measured(
    measured: pd.DataFrame, wanted: set[tuple[str, ...]]
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], str]]:
    """Values of published cells that were measured, the last one counting, and why others do not count."""
    values, obstacles = {}, {}
    for row in tidy(measured).to_dict("records") if len(measured) else []:
        key = _key(row)
        if key not in wanted:
            continue
        obstacle = _obstacle(row)
        if obstacle:
            obstacles[key] = obstacle
        else:
            values[key] = float(row["value"])
    return values, {key: obstacle for key, obstacle in obstacles.items() if key not in values}


def _obstacle(row: dict[Any, Any]) -> str:
    """Why a measured cell is not the published experiment; empty when nothing speaks against it."""
    dataset, name = str(row["dataset"]), str(row["protocol"])
    method = str(row.get("method_name", row["method"]))
    if row.get("parameters") and row["parameters"] != _parameters(method, name, dataset, str(row["arch"])):
        return "measured with other parameters than the method's own"
    if name in list_protocols() and dataset in BENCHMARKS:
        protocol_hash, vocabulary_hash = _expected(name, dataset, str(row["arch"]))
        if row.get("protocol_hash", protocol_hash) != protocol_hash:
            return f"measured under a changed protocol '{name}'"
        if row.get("vocabulary_hash", vocabulary_hash) != vocabulary_hash:
            return "measured with other class names"
    images, counts = row.get("images"), BENCHMARKS[dataset].counts if dataset in BENCHMARKS else ()
    if images not in (None, "") and counts and int(images) not in counts:
        return f"measured on {int(images)} of {counts[0]} images"
    return ""


@lru_cache
def _expected(protocol: str, dataset: str, arch: str) -> tuple[str, str]:
    resolved = load_protocol(protocol).for_dataset(dataset, arch)
    return resolved.hash, resolved.vocabulary(dataset).hash


@lru_cache
def _parameters(method: str, protocol: str, dataset: str, arch: str) -> str:
    """Parameters of a method by default, or as the protocol's authors tuned them."""
    made = create_method(method)
    if protocol in list_protocols() and dataset in BENCHMARKS:
        made = under_protocol(made, load_protocol(protocol).for_dataset(dataset, arch))
    return json.dumps(made.parameters, sort_keys=True, ensure_ascii=False)


@lru_cache
def _known() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "known.toml").read_text(encoding="utf-8"))


def _reason(cell: dict[Any, Any], reasons: list[dict[str, str]]) -> str:
    for entry in reasons:
        named = {name: value for name, value in entry.items() if name not in ("text", "source")}
        if all(cell[name] == value for name, value in named.items()) and entry.get("source", "") in cell["source"]:
            return entry["text"]
    return ""
