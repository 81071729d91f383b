"""What an evaluation found: tables with intervals, paired comparisons, and where every number comes from."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ovss.errors import InputError, suggest
from ovss.evaluation.card import Card
from ovss.evaluation.extras import EXTRAS
from ovss.evaluation.records import Record, Shard, Store, write_bytes
from ovss.evaluation.written import RUN_FILE, run_files
from ovss.files import read_sealed_json
from ovss.files.tables import html_table, with_interval
from ovss.metrics import MEASURES, PREDICTION, TRUTH, measure
from ovss.metrics.intervals import Interval, difference, in_percent, of_means
from ovss.metrics.resampling import Replicates, Resampler, seen_once
from ovss.metrics.significance import holm, permutation_test
from ovss.provenance import as_columns, protocol_words

__all__ = ["Evaluation"]

_UNKNOWN = "not recorded"
"""In tables of runs that are older than a column."""


class Evaluation(Card):
    """Results of one run: tables from its records, which are read when a table first needs them, once.

    Args:
        store: Where the records are.
        shards: The shards that make up the run.
        classes: Class names.
        methods: Per method label, its name and parameters.
        rule: Metric rule of the protocol.
        facts: What all rows share: model, weights, vocabulary, protocol, data set, versions, seed.
        seconds: Time per stage; not part of the tables.
        extras: What was recorded beside the counts; some of "oracles", "errors" and "calibration".
        refused: Methods that have no oracle of place, with the reason.
    """

    def __init__(
        self,
        store: Store,
        shards: Sequence[Shard],
        *,
        classes: Sequence[str],
        methods: Mapping[str, Mapping[str, Any]],
        rule: str,
        facts: Mapping[str, Any],
        seconds: Mapping[str, float] | None = None,
        extras: Sequence[str] = (),
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.methods = dict(methods)
        self.rule = rule
        self.facts = dict(facts)
        self.seconds = dict(seconds or {})
        self.extras = tuple(extras)
        self.refused = dict(refused or {})
        self._store = store
        self._shards = tuple(shards)
        self._intervals: dict[str, Interval] = {}

    def __repr__(self) -> str:
        facts = self.facts
        where = f"{facts['dataset']} under {facts['protocol']}, {facts['model']}"
        return f"Evaluation({', '.join(self.methods)} on {len(self.ids)} images of {where})"

    def _repr_html_(self) -> str:
        table = self.table()
        facts = self.facts
        where = f"{facts['dataset']} ({len(self.ids)} images) under {facts['protocol']}, {facts['model']}"
        rows = [list(map(str, row)) for row in table.itertuples(index=False)]
        return html_table(f"{where}; percent with 95 % intervals over images", [list(table.columns), *rows])

    @classmethod
    def load(cls, folder: str | Path) -> "Evaluation":
        """Results that an earlier run wrote.

        Raises:
            InputError: The folder holds no finished run, or its records are incomplete.
        """
        path = Path(folder) / RUN_FILE
        try:
            run = read_sealed_json(path)
            return cls(
                Store.open(run["facts"]["key"], Path(folder)),
                [Shard(*bounds) for bounds in run["shards"]],
                classes=run["classes"],
                methods=run["methods"],
                rule=run["rule"],
                facts=run["facts"],
                seconds=run["seconds"],
                extras=run.get("extras", ()),
                refused=run.get("refused", {}),
            )
        except FileNotFoundError as error:
            raise InputError(f"'{path}' is not a finished run ({error}); evaluate with this folder as --out") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"'{path}' cannot be used: {error}; evaluate again with this folder as --out") from error

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the images that were evaluated, in order."""
        return tuple(name for _, record in self.records() for name in record.ids)

    @cached_property
    def skipped(self) -> dict[str, str]:
        """Images that could not be read, with the reason; empty unless the run was asked to skip them."""
        return {name: reason for _, record in self.records() for name, reason in record.skipped.items()}

    def method(self, label: str) -> Mapping[str, Any]:
        """Name and parameters of a method of this run.

        Raises:
            InputError: The run has no such method.
        """
        if label not in self.methods:
            raise InputError(f"this run has no method '{label}'.{suggest(label, self.methods)}")
        return self.methods[label]

    def counts(self, method: str) -> np.ndarray:
        """Records of one method, (images, 3, C) int64: intersection, ground-truth area, predicted area in pixels.

        Raises:
            InputError: The run has no such method.
        """
        self.method(method)
        return np.concatenate([record.counts(method) for _, record in self.records()])

    def records(self) -> list[tuple[Shard, Record]]:
        """The run's shards with their records, in order; each file is read once.

        Raises:
            InputError: One is missing or damaged.
        """
        return self._records

    @cached_property
    def _records(self) -> list[tuple[Shard, Record]]:
        found = [(shard, self._store.get(shard)) for shard in self._shards]
        lost = [shard.stem for shard, record in found if record is None]
        if lost:
            raise InputError(f"record '{lost[0]}' in '{self._store.folder}' is missing; evaluate again")
        return [(shard, record) for shard, record in found if record is not None]

    def summary(self, provenance: bool = True) -> pd.DataFrame:
        """One row per method: four measures in percent with 95 % intervals over images, and what produced them.

        Args:
            provenance: Whether to add the columns that say what produced the row.

        Example:
            >>> import ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> evaluation = ovss.evaluate(backbone, ["clip", "naclip"], "scenes", limit=2)
            >>> evaluation.summary(provenance=False)[["method", "mIoU", "images"]].round(0)
               method  mIoU  images
            0    clip  16.0       2
            1  naclip  62.0       2
        """
        rows = []
        for label, method in self.methods.items():
            found = self._interval(label)
            row: dict[str, Any] = {"method": label}
            for number, name in enumerate(MEASURES):
                row[name] = found.mean[number]
                row[f"{name}_low"], row[f"{name}_high"] = found.low[number], found.high[number]
            row |= {"images": len(self.ids), "skipped": len(self.skipped)}
            rows.append(row | (as_columns({**method, **self.facts}) if provenance else {}))
        return pd.DataFrame(rows)

    def table(self, decimals: int = 1) -> pd.DataFrame:
        """The summary for readers: every measure as "54.3 [52.1, 56.6]", percent with its 95 % interval over images.

        In front stands what must agree or be known before two rows are compared: `support`, a word of
        `ovss.ledger.SUPPORT`; `protocol`, with the first digits of its hash; `set per data set`, the settings and
        hyperparameters that have another value for this data set than for others. Where a row uses a second network, a
        column names it.
        """
        summary = self.summary(provenance=False)
        cells = {
            name: [
                with_interval(*values, decimals)
                for values in zip(summary[name], summary[f"{name}_low"], summary[f"{name}_high"], strict=True)
            ]
            for name in MEASURES
        }
        rows = self.methods.values()
        words = {
            "support": [row.get("support", _UNKNOWN) or "not stated" for row in rows],
            "protocol": protocol_words(self.facts["protocol"], self.facts["protocol_hash"]),
            "set per data set": [row.get("set_per_dataset", _UNKNOWN) or "none" for row in rows],
        }
        seconds = [row.get("companion", "") for row in rows]
        words |= {"second network": seconds} if any(seconds) else {}
        return summary[["method"]].assign(**words, **cells, images=summary["images"], skipped=summary["skipped"])

    def per_class(self) -> pd.DataFrame:
        """One row per method and class: IoU and accuracy in percent, areas in pixels, images with the class."""
        frames = []
        for label in self.methods:
            counts = self.counts(label)
            total = counts.sum(axis=0)
            found = measure(total, self.rule)
            frames.append(
                pd.DataFrame(
                    {
                        "method": label,
                        "class_index": range(len(self.classes)),
                        "class": self.classes,
                        "IoU": found.iou,
                        "accuracy": found.accuracy,
                        "truth_pixels": total[TRUTH],
                        "predicted_pixels": total[PREDICTION],
                        "images": (counts[:, TRUTH] > 0).sum(axis=0),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def compare(self, a: str, b: str) -> pd.DataFrame:
        """What method b changes against method a, on the same images.

        Intervals are paired, over images (`ovss.metrics.intervals`), p-values from a permutation test that swaps the
        two methods' results on random halves of the images; those of the classes are also corrected for their number
        (Holm).

        Args:
            a: Label of the method to compare with.
            b: Label of the method that is compared.

        Returns:
            Rows for the four measures, then one per class, with columns: scope ("mean" or "class"), name, a, b,
            difference (percentage points), low, high, p, p_holm. The measures other than mIoU have no p-value.

        Raises:
            InputError: The run has no such method.
        """
        return self._compare(self._sample(a), self._sample(b))

    def _compare(self, first: "_Sample", second: "_Sample") -> pd.DataFrame:
        left, right = (measure(side.counts.sum(axis=0), self.rule) for side in (first, second))
        found = difference(first.counts, second.counts, first.replicates, second.replicates)
        p_class, p_mean = permutation_test(first.counts, second.counts, self.rule, seed=self.facts["seed"])
        means = {"scope": "mean", "name": MEASURES, "a": left.mean, "b": right.mean, **_columns(found.mean)}
        classes = {"scope": "class", "name": self.classes, "a": left.iou, "b": right.iou, **_columns(found.iou)}
        means |= {"p": [p_mean, np.nan, np.nan, np.nan], "p_holm": np.nan}
        classes |= {"p": p_class, "p_holm": holm(p_class)}
        return pd.concat([pd.DataFrame(means), pd.DataFrame(classes)], ignore_index=True)

    @cached_property
    def _resampler(self) -> Resampler:
        return Resampler(len(self.ids), seed=self.facts["seed"])

    def _sample(self, label: str) -> "_Sample":
        """A method's dense records with their replicates; they are large, so that only its intervals stay."""
        counts = self.counts(label)
        replicates = self._resampler.replicates(counts, self.rule)
        self._intervals[label] = in_percent(of_means(replicates[0], seen_once(counts)))
        return _Sample(counts, replicates)

    def _interval(self, label: str) -> Interval:
        if label not in self._intervals:
            self._sample(label)
        return self._intervals[label]

    def per_image(self) -> pd.DataFrame:
        """One row per image, method and class that occurs in it: areas in pixels and IoU in percent."""
        frames = []
        for _, record in self.records():
            image, method, index, inter, truth, predicted = record.rows.T
            frames.append(
                pd.DataFrame(
                    {
                        "image": np.array(record.ids, dtype=object)[image],
                        "method": np.array(record.methods, dtype=object)[method],
                        "class": np.array(self.classes, dtype=object)[index],
                        "intersection": inter,
                        "truth_pixels": truth,
                        "predicted_pixels": predicted,
                        "IoU": 100 * inter / (truth + predicted - inter),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def differences(self) -> pd.DataFrame:
        """Every other method compared with the first one; see `compare`."""
        first, *others = self.methods
        if not others:
            return pd.DataFrame()
        base = self._sample(first)
        frames = [self._compare(base, self._sample(other)).assign(against=first, method=other) for other in others]
        return pd.concat(frames, ignore_index=True)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the tables: summary (CSV, Markdown, LaTeX, JSON), per_class.csv, differences.csv, per_image.parquet.

        `run.json` comes last; a folder that has it is a finished run.

        Returns:
            The files.

        Raises:
            InputError: One cannot be written.
        """
        folder = Path(folder)
        files = run_files(self)
        # Tables of a former run must not pass for this one's, however far the writing gets.
        for name in (RUN_FILE, "differences.csv", *(f"{extra}.csv" for extra in EXTRAS)):
            (folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            write_bytes(folder / name, content)
        return [folder / name for name in files]


class _Sample(NamedTuple):
    counts: np.ndarray
    replicates: tuple[Replicates, Replicates]


def _columns(interval: Interval) -> dict[str, np.ndarray]:
    return {"difference": interval.mean, "low": interval.low, "high": interval.high}
