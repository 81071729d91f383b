"""What a run says beyond its scores: where points are lost, how errors look, how sure labels and ranks are."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ovss.errors import InputError, suggest
from ovss.evaluation.extras import ORACLES, dense_confidences, dense_errors, dense_oracle
from ovss.evaluation.rates import CALIBRATION, by_image, by_size, calibration_rates, error_rates
from ovss.metrics import INTERSECTION, TRUTH
from ovss.metrics.intervals import MIN_IMAGES, Interval, in_percent, of_miou, of_numbers
from ovss.metrics.ranks import rank_intervals, ranks_of
from ovss.metrics.resampling import Replicates, Resampler, seen_once

if TYPE_CHECKING:
    from ovss.evaluation.records import Record, Shard

__all__ = ["Card"]

STEPS = ("presence", "place", "naming", "resolution")
"""Questions whose answers lead from a method's own labels to the ground truth, in this order."""


class Card:
    """Tables that `Evaluation` has beside its scores."""

    methods: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...]
    rule: str
    extras: tuple[str, ...]
    refused: Mapping[str, str]
    ids: tuple[str, ...]
    _resampler: Resampler

    if TYPE_CHECKING:

        def counts(self, method: str) -> np.ndarray: ...  # noqa: D102
        def records(self) -> "list[tuple[Shard, Record]]": ...  # noqa: D102

    def oracles(self) -> pd.DataFrame:
        """What each method would reach if the ground truth answered one question; needs a run with `oracles=True`.

        Returns:
            Rows per method and oracle, with mIoU and what it gains on the same images over the labels as they are, in
            percent and percentage points, each with its 95 % interval over images. Oracles: "none"; "presence": only
            words of classes that the image holds are offered; "place": attention of the last block is kept within true
            classes; both; "naming": each true region is named by its mean score; "ceiling": each patch has its most
            frequent class. Where a method has no such number it is NaN, and `note` says why.

        Raises:
            InputError: The run has no oracles.

        Example:
            >>> import ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> evaluation = ovss.evaluate(backbone, "clip", "scenes", limit=2, oracles=True)
            >>> evaluation.oracles()[["oracle", "mIoU", "gain"]].round(0)
                         oracle  mIoU  gain
            0              none  16.0   0.0
            1          presence  16.0   0.0
            2             place  50.0  34.0
            3  presence + place  50.0  34.0
            4            naming  33.0  18.0
            5           ceiling  78.0  62.0
        """
        rows = []
        for label in self.methods:
            _, once, plain = self._plain(label)
            for name in ("none", *ORACLES):
                row: dict[str, Any] = {"method": label, "oracle": name, "note": ""}
                if self._missing(label, name):
                    rows.append(row | _with_ends("mIoU") | _with_ends("gain") | {"note": self.refused[label]})
                    continue
                found = plain if name == "none" else self._oracle(label, name)
                row |= _with_ends("mIoU", in_percent(of_miou(found, once)))
                rows.append(row | _with_ends("gain", of_miou(found - plain, once)))
        return pd.DataFrame(rows, columns=[*_ORDER, "note"])

    def oracle_counts(self, method: str, oracle: str) -> np.ndarray:
        """Counts (images, 3, C) of a method under an oracle, as `Evaluation.counts` has them without one.

        Args:
            method: Label of the method.
            oracle: "presence", "place", "presence + place", "naming" or "ceiling".

        Raises:
            InputError: The run has no oracles, or not this method or oracle.
        """
        counts = self.counts(method)
        if oracle not in ORACLES:
            raise InputError(f"oracle '{oracle}' is unknown.{suggest(oracle, ORACLES)}")
        if self._missing(method, oracle):
            raise InputError(f"method '{method}' has no oracle of place: {self.refused[method]}")
        number, rows = list(self.methods).index(method), self._extra("oracles", method)
        parts = [dense_oracle(stored, some, oracle, number) for stored, some in rows]
        assert sum(map(len, parts)) == len(counts)
        return np.concatenate(parts)

    def ladder(self) -> pd.DataFrame:
        """Where the points between a method and 100 are lost; needs a run with `oracles=True`.

        Four steps that add up to 100 less the mIoU: presence (offering only the classes that the image holds), place
        (attention within true classes as well), naming (from there to the best label per patch), and resolution (from
        there to every pixel). Each step is what its question adds to those before, so the order is part of the number.

        Returns:
            Rows per method and step: points of mIoU with their paired 95 % interval over images; NaN for place and
            naming of methods whose attention cannot be kept within classes.

        Raises:
            InputError: The run has no oracles.
        """
        rows = []
        for label in self.methods:
            _, once, plain = self._plain(label)
            rungs: list[Replicates | None] = [plain]
            for name in ("presence", "presence + place", "ceiling"):
                rungs.append(None if self._missing(label, name) else self._oracle(label, name))
            rungs.append(_constant(plain, 100.0))
            for step, below, above in zip(STEPS, rungs, rungs[1:], strict=False):
                found = None if below is None or above is None else of_miou(above - below, once)
                rows.append({"method": label, "step": step} | _with_ends("points", found))
        return pd.DataFrame(rows)

    def errors(self) -> pd.DataFrame:
        """Where the missing IoU goes, and whom a mean over all images hides; needs a run with `errors=True`.

        Returns:
            Rows per method and measure in percent, with 95 % intervals over images: mIoU; its loss to boundaries, to
            wrong extent and to wrong segments ("lost to ...", `ovss.metrics.error_counts`), each with the part that is
            false positive; these and mIoU add up to 100. Boundary IoU. "image mIoU": mean over images of the mean IoU
            of the classes in them, and its mean over the worst tenth of the images. "IoU of small, medium and large
            regions": mean IoU of a class in an image, by thirds of all such regions by area. "classes never found" is a
            number of classes that the ground truth holds and no pixel of which was found, without an interval.

        Raises:
            InputError: The run has no record of errors.
        """
        self._need("errors")
        rows = []
        for number, label in enumerate(self.methods):
            counts = self.counts(label)
            parts = [dense_errors(rows_of, some, number) for rows_of, some in self._extra("errors", label)]
            together = np.concatenate([counts, np.concatenate(parts)], axis=1)
            split = error_rates(self.rule)
            found = of_miou(self._resampler.of_sums(together, split.of), seen_once(counts))
            rows += _rows(label, split.names, in_percent(found))
            for names, function in (by_image(counts), by_size(counts)):
                rows += _rows(label, names, in_percent(of_numbers(self._resampler.of_images(function))))
            total = counts.sum(0)
            never = int(((total[TRUTH] > 0) & (total[INTERSECTION] == 0)).sum())
            rows.append({"method": label, "measure": "classes never found"} | _with_ends("value") | {"value": never})
        return pd.DataFrame(rows).assign(images=len(self.ids))

    def calibration(self) -> pd.DataFrame:
        """Whether pixel confidences can be trusted; needs a run with `calibration=True`.

        Returns:
            Rows per method and measure in percent, with 95 % intervals over images: "ECE", expected calibration error
            over 15 groups; "AURC", area under the risk-coverage curve; mean confidence and pixel accuracy. The
            confidence of a pixel is the probability of its label under the protocol's scale.

        Raises:
            InputError: The run has no confidences.
        """
        self._need("calibration")
        rows = []
        for number, label in enumerate(self.methods):
            parts = [
                dense_confidences(rows_of, len(some), number) for rows_of, some in self._extra("calibration", label)
            ]
            found = of_numbers(self._resampler.of_sums(np.concatenate(parts), calibration_rates))
            rows += _rows(label, CALIBRATION, in_percent(found))
        return pd.DataFrame(rows).assign(images=len(self.ids))

    def ranks(self) -> pd.DataFrame:
        """How sure the order of the methods is, from one resampling of the images that all methods share.

        Returns:
            A row per method, the best first: mIoU in percent; its rank; rank_low and rank_high, the 95 % interval of
            the rank: one more than the methods that are certainly better, to all but those that are certainly worse, by
            paired differences that hold together (`ovss.metrics.ranks`, coverage in `docs/intervals.md`); `best`: share
            of the resamples in which it comes first, which is no probability of its being the best. NaN below 10
            images.

        Example:
            >>> import ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> evaluation = ovss.evaluate(backbone, ["clip", "naclip"], "scenes", limit=12)
            >>> evaluation.ranks().round(1)
               method  mIoU  rank  rank_low  rank_high  best
            0  naclip  72.0     1         1          1   1.0
            1    clip  25.2     2         2          2   0.0
        """
        plain = [self._plain(label) for label in self.methods]
        scores, once = Replicates.side_by_side([found for _, _, found in plain]), plain[0][1]
        order = ranks_of(scores.estimate[None])[0]
        enough = len(self.ids) >= MIN_IMAGES
        low, high = rank_intervals(scores, once) if enough else [np.nan] * 2
        best = (ranks_of(scores.resampled) == 1).mean(axis=0) if enough else np.nan
        columns = {"mIoU": scores.estimate, "rank": order, "rank_low": low, "rank_high": high, "best": best}
        frame = pd.DataFrame({"method": list(self.methods), **columns})
        return frame.sort_values("rank", kind="stable", ignore_index=True)

    def _plain(self, label: str) -> tuple[np.ndarray, float, Replicates]:
        """Counts of a method, the share of classes seen once, and replicates of its mIoU."""
        counts = self.counts(label)
        return counts, seen_once(counts), self._resampler.replicates(counts, self.rule)[0].column(0)

    def _oracle(self, label: str, name: str) -> Replicates:
        return self._resampler.replicates(self.oracle_counts(label, name), self.rule)[0].column(0)

    def _missing(self, label: str, oracle: str) -> bool:
        self._need("oracles")
        return "place" in oracle and label in self.refused

    def _need(self, extra: str) -> None:
        if extra not in self.extras:
            raise InputError(f"this run has no record of {extra}; evaluate with {extra}=True (ovss evaluate --{extra})")

    def _extra(self, name: str, label: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of an extra of all methods, and counts (images, 3, C) of one, record by record."""
        return [(record.extras[name], record.counts(label)) for _, record in self.records()]


_ORDER = ("method", "oracle", "mIoU", "mIoU_low", "mIoU_high", "gain", "gain_low", "gain_high")


def _constant(like: Replicates, value: float) -> Replicates:
    return Replicates(*(np.full_like(part, value) for part in (like.estimate, like.resampled, like.left_out)))


def _with_ends(name: str, found: Interval | None = None, number: int = 0) -> dict[str, float]:
    ends = (name, f"{name}_low", f"{name}_high")
    return (
        dict.fromkeys(ends, np.nan)
        if found is None
        else {end: float(values[number]) for end, values in zip(ends, found, strict=True)}
    )


def _rows(label: str, names: tuple[str, ...], found: Interval) -> list[dict[str, Any]]:
    return [
        {"method": label, "measure": name} | _with_ends("value", found, number) for number, name in enumerate(names)
    ]
