"""Published cells joined to measured ones."""

import json
import tomllib
from functools import lru_cache
from typing import Any

import pandas as pd

from ovss.datasets import BENCHMARKS
from ovss.ledger.measured import tidy
from ovss.ledger.published import FOLDER, KEY, UNKNOWN, load_published
from ovss.methods import create_method, list_methods
from ovss.methods.tuned import under_protocol
from ovss.protocols import load_protocol

VERDICTS = ("within", "off", "not run", "no value", "not comparable")
"""States of a cell, as the package's docstring explains them."""
_ROUNDING = 1e-6
_CARRIED = ("towers", "support", "source", "note", "protocol_reason")


def join(measured: pd.DataFrame, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """The ledger: every published cell with what was measured for it.

    A measured row is compared with a cell only where it is the same experiment: method, architecture, weights,
    protocol, data set and measure agree, the method has its default parameters (or those that the protocol gives it),
    the protocol is the shipped one, with its class names, on the whole validation part. Otherwise the cell stays
    "not run" and the reason says what differs. A cell whose protocol is unknown is never "off". Where sources
    disagree about one experiment, a number that meets one of them is off from the others with that as the reason.

    Args:
        measured: As `tidy` takes it; an empty frame where nothing was measured.
        published: As `load_published` returns it; None: the ledger's own cells.

    Returns:
        One row per published cell, in the order of `published`: the columns of `KEY`, published, measured and
        difference (percent and percentage points; NaN where there is none), tolerance (percentage points: 0.3, on
        COCO-Stuff 0.6), verdict (one of `VERDICTS`), reason, towers, support, source, note and
        protocol_reason.
    """
    known = _known()
    cells = (load_published() if published is None else published).to_dict("records")
    candidates = _by_key(measured, {_key(cell) for cell in cells})
    rows = []
    for cell in cells:
        tolerance = known["tolerance"].get(cell["dataset"], known["tolerance"]["default"])
        verdict, value, reason = _settle(cell, candidates.get(_key(cell), []), tolerance, known)
        numbers = {
            "published": cell["value"],
            "measured": value,
            "difference": None if value is None else value - cell["value"],
            "tolerance": tolerance,
            "verdict": verdict,
            "reason": reason,
        }
        rows.append({name: cell[name] for name in KEY} | numbers | {name: cell[name] for name in _CARRIED})
    _mark_disagreements(rows)
    return pd.DataFrame(rows).astype({"published": float, "measured": float, "difference": float})


def unexplained(ledger: pd.DataFrame) -> pd.DataFrame:
    """Cells that are off without a recorded reason."""
    return ledger.loc[(ledger["verdict"] == "off") & (ledger["reason"] == "")]


def states(ledger: pd.DataFrame) -> dict[str, int]:
    """Number of cells in each state, in the order of `VERDICTS`."""
    verdicts = ledger["verdict"].tolist()
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def _settle(
    cell: dict[Any, Any], candidates: list[dict[Any, Any]], tolerance: float, known: dict[str, Any]
) -> tuple[str, float | None, str]:
    """Verdict, measured value and reason of one cell."""
    if pd.isna(cell["value"]):
        return "no value", None, cell["note"] or "no value known"
    if cell["protocol"] == UNKNOWN:
        return "not comparable", None, cell["protocol_reason"]
    if reason := _recorded(cell, known["not_comparable"]):
        return "not comparable", None, reason
    obstacle = ""
    for row in reversed(candidates):  # the last one counts
        obstacle = _obstacle(row, cell)
        if not obstacle:
            value = float(row["value"])
            within = abs(value - cell["value"]) <= tolerance + _ROUNDING
            return ("within", value, "") if within else ("off", value, _recorded(cell, known["reason"]))
    return "not run", None, obstacle


def _mark_disagreements(rows: list[dict[str, Any]]) -> None:
    """Give a cell that is off the reason that another source has what was measured, where one does."""
    met = {_key(row): row for row in rows if row["verdict"] == "within"}
    for row in rows:
        other = met.get(_key(row))
        if row["verdict"] == "off" and not row["reason"] and other is not None:
            row["reason"] = f"sources disagree: {other['source']} has {other['published']:g}"


def _key(row: dict[Any, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _by_key(measured: pd.DataFrame, wanted: set[tuple[str, ...]]) -> dict[tuple[str, ...], list[dict[Any, Any]]]:
    """Measured rows of published cells; a row's method is its name in the registry, whatever its label."""
    found: dict[tuple[str, ...], list[dict[Any, Any]]] = {}
    for row in tidy(measured).to_dict("records") if len(measured) else []:
        row["method"] = _fact(row, "method_name") or row["method"]
        if _key(row) in wanted:
            found.setdefault(_key(row), []).append(row)
    return found


def _fact(row: dict[Any, Any], name: str) -> Any:
    """What a measured row says; None where it says nothing (tables of several kinds are read together)."""
    value = row.get(name)
    return None if value is None or value == "" or pd.isna(value) else value


def _obstacle(row: dict[Any, Any], cell: dict[Any, Any]) -> str:
    """Why a measured row is not the published experiment; empty when nothing speaks against it."""
    dataset, name, arch = str(cell["dataset"]), str(cell["protocol"]), str(cell["arch"])
    shipped = cell["method"] in list_methods()
    if shipped and _fact(row, "parameters") not in (None, _parameters(cell["method"], name, dataset, arch)):
        return "measured with other parameters than the method's own"
    protocol_hash, vocabulary_hash = _expected(name, dataset, arch)
    if _fact(row, "protocol_hash") not in (None, protocol_hash):
        return f"measured under a changed protocol '{name}'"
    if _fact(row, "vocabulary_hash") not in (None, vocabulary_hash):
        return "measured with other class names"
    images, counts = _fact(row, "images"), BENCHMARKS[dataset].counts
    if images is not None and int(images) not in counts:
        return f"measured on {int(images)} of {counts[0]} images"
    return ""


@lru_cache
def _expected(protocol: str, dataset: str, arch: str) -> tuple[str, str]:
    """Hashes of the resolved protocol and of the class names that a run of the published experiment has."""
    resolved = load_protocol(protocol).for_dataset(dataset, arch)
    return resolved.hash, resolved.vocabulary(dataset).hash


@lru_cache
def _parameters(method: str, protocol: str, dataset: str, arch: str) -> str:
    """Parameters of a method by default, or as the protocol's authors tuned them."""
    made = under_protocol(create_method(method), load_protocol(protocol).for_dataset(dataset, arch))
    return json.dumps(made.parameters, sort_keys=True, ensure_ascii=False)


@lru_cache
def _known() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "known.toml").read_text(encoding="utf-8"))


def _recorded(cell: dict[Any, Any], reasons: list[dict[str, str]]) -> str:
    for entry in reasons:
        named = {name: value for name, value in entry.items() if name not in ("text", "source")}
        if all(cell[name] == value for name, value in named.items()) and entry.get("source", "") in cell["source"]:
            return entry["text"]
    return ""
