"""Measured cells, from the tables that evaluations write."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ovss.errors import InputError
from ovss.ledger.published import KEY
from ovss.metrics import MEASURES
from ovss.provenance import protocol_words


def load_results(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Measured cells from evaluation summaries.

    Args:
        paths: CSV files, or folders, in which every `summary.csv` is taken.

    Raises:
        InputError: A path does not exist, holds no summary, or a file is not an evaluation summary.
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
        InputError: A column is missing, or a value is not a number.
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
        raise InputError(f"this is not an evaluation summary: column '{missing[0]}' is missing")
    values = pd.Series(pd.to_numeric(table["value"], errors="coerce"))
    if values.isna().any():
        wrong = table.loc[values.isna(), "value"].tolist()[0]
        raise InputError(f"column 'value' holds {wrong!r}, which is not a number")
    arch = table["arch"].astype(str).str.replace("/", "-").str.removesuffix("-quickgelu")
    weights = table["weights"].astype(str).str.partition("=")[0]
    return table.assign(arch=arch, weights=weights, value=values)


def protocol_ranks(measured: pd.DataFrame) -> pd.DataFrame:
    """Whether the order of methods depends on the protocol.

    Args:
        measured: As for `tidy`; may be empty.

    Returns:
        For each model and data set that was measured under several protocols, one row per method measured under all of
        them: columns arch, weights, dataset, method, one column per protocol with the method's rank by mIoU (1 is best,
        equal numbers share the better rank; missing where the data set has no such protocol), lowest and highest rank.
        A name that stands for protocols of several hashes has a column for each, with the first digits of the hash.
    """
    columns = ["arch", "weights", "dataset", "method"]
    table = tidy(measured) if len(measured) else pd.DataFrame(columns=[*KEY, "value"])
    rows = []
    for _, part in table[table["metric"] == "mIoU"].groupby(columns[:3], sort=True):
        part = _told_apart(pd.DataFrame(part))
        wide = part.pivot_table(index=columns, columns="protocol", values="value", aggfunc="first").dropna()
        if wide.shape[1] > 1 and len(wide) > 1:
            ranks = wide.rank(ascending=False, method="min").astype("Int64")
            rows.append(ranks.assign(lowest=ranks.min(axis=1), highest=ranks.max(axis=1)).reset_index())
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=[*columns, "lowest", "highest"])
    return found.rename_axis(columns=None)


def _told_apart(part: pd.DataFrame) -> pd.DataFrame:
    """Rows of one data set, where protocols of one name that say different things have different names."""
    if "protocol_hash" not in part:
        return part
    pairs = list(zip(part["protocol"], part["protocol_hash"].astype(str), strict=True))
    names = [name for name, _ in set(pairs)]
    return part.assign(protocol=[protocol_words(*pair) if names.count(pair[0]) > 1 else pair[0] for pair in pairs])
