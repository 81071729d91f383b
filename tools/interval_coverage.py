"""How often intervals hold, by simulation: the table of docs/intervals.md.

    python tools/interval_coverage.py                               # ten minutes; writes docs/intervals.csv and .md
    python tools/interval_coverage.py --samples 5 --out look.csv    # a look

The same arguments give the same table.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parent))
from simulated_images import WORLDS, Population, World, interchangeable, population

from ovss.files.tables import to_csv, to_markdown
from ovss.metrics import MEASURES, measure
from ovss.metrics.intervals import of_means
from ovss.metrics.resampling import Replicates, Resampler, seen_once

SETTINGS = ((21, 100), (21, 300), (21, 1449), (150, 100), (150, 300), (150, 2000), (171, 300), (171, 1000), (847, 2000))
PAIRED = ((21, 100), (21, 300), (150, 300), (171, 300), (847, 2000))
IMAGES = 40_000
RESAMPLES = 400
Z = norm.ppf(0.975)
ORDER = (
    "percentile",
    "basic",
    "normal",
    "bias-corrected normal",
    "BCa",
    "m out of n",
    "studentised",
    "jackknife",
    "calibrated",
)
MARKS = ("<!-- tables: written by tools/interval_coverage.py -->", "<!-- end of tables -->")
TABLE = Path(__file__).parents[1] / "docs" / "intervals.csv"


def percentile(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the resamples."""
    low, high = np.percentile(numbers.resampled, [2.5, 97.5], axis=0)
    return low, high


def basic(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """The same, mirrored at the number."""
    low, high = percentile(numbers, once)
    return 2 * numbers.estimate - high, 2 * numbers.estimate - low


def normal(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """The number and the resamples' standard deviation, bias left in."""
    return _around(numbers.estimate, numbers.resampled.std(axis=0))


def corrected(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected normal: the mean of the resamples tells the bias."""
    return _around(2 * numbers.estimate - numbers.resampled.mean(axis=0), numbers.resampled.std(axis=0))


def accelerated(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """BCa (Efron 1987)."""
    below = (numbers.resampled < numbers.estimate).mean(axis=0).clip(0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES)
    shift = norm.ppf(below)
    deviation = numbers.left_out.mean(axis=0) - numbers.left_out
    spread = np.maximum((deviation**2).sum(axis=0), 1e-300)
    skew = (deviation**3).sum(axis=0) / (6 * spread**1.5)
    ends = []
    for z in (-Z, Z):
        level = norm.cdf(shift + (shift + z) / (1 - skew * (shift + z)))
        columns = zip(numbers.resampled.T, level, strict=True)
        ends.append(np.array([np.quantile(column, part) for column, part in columns]))
    return ends[0], ends[1]


def jackknife(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """Bias and standard error from leaving images out (Quenouille, Tukey)."""
    n = len(numbers.left_out)
    bias = (n - 1) * (numbers.left_out - numbers.estimate).mean(axis=0)
    return _around(numbers.estimate - bias, np.sqrt((n - 1) * numbers.left_out.var(axis=0)))


def calibrated(numbers: Replicates, once: float) -> tuple[np.ndarray, np.ndarray]:
    """What ovss prints."""
    found = of_means(numbers, once)
    return found.low, found.high


METHODS: dict[str, Callable[[Replicates, float], tuple[np.ndarray, np.ndarray]]] = {
    "percentile": percentile,
    "basic": basic,
    "normal": normal,
    "bias-corrected normal": corrected,
    "BCa": accelerated,
    "jackknife": jackknife,
    "calibrated": calibrated,
}


def _around(centre: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return centre - Z * error, centre + Z * error


def half_samples(counts: np.ndarray, numbers: Replicates, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """m out of n: resamples of half as many images, their deviation from the number shrunk by the root of one half."""
    n = len(counts)
    drawn = np.random.default_rng(seed).multinomial(n // 2, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
    flat = counts.reshape(n, -1).astype(np.float64)
    means = measure((drawn @ flat).reshape(-1, *counts.shape[1:])).mean
    low, high = np.percentile(means - numbers.estimate, [2.5, 97.5], axis=0) * np.sqrt(0.5)
    return numbers.estimate - high, numbers.estimate - low


def studentised(counts: np.ndarray, numbers: Replicates, resampler: Resampler) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap t for mIoU, each resample over its own standard error by the delta method."""
    flat, weights = counts.reshape(len(counts), -1).astype(np.float64), resampler.weights.astype(np.float64)

    def error(weight: np.ndarray) -> np.ndarray:
        """Standard errors (R,) of resamples given by weights (R, images)."""
        found, truth, guess = np.moveaxis((weight @ flat).reshape(len(weight), 3, -1), 1, 0)
        union = np.maximum(truth + guess - found, 1e-9)
        known = truth + guess > 0
        out = np.where(known, -found / union**2, 0)
        slope = np.concatenate([np.where(known, 1 / union, 0) - out, out, out], axis=1)  # (R, 3 C)
        influence = flat @ (100 * slope / known.sum(axis=1, keepdims=True)).T  # (images, R)
        return np.sqrt((weight.T * influence**2).sum(axis=0))

    own = error(np.ones((1, len(counts))))[0]
    ratio = (numbers.resampled[:, 0] - numbers.estimate[0]) / np.maximum(error(weights), 1e-12)
    low, high = np.percentile(ratio, [2.5, 97.5])
    ends = np.full((2, len(MEASURES)), np.nan)
    ends[:, 0] = numbers.estimate[0] - high * own, numbers.estimate[0] - low * own
    return ends[0], ends[1]


def coverage(everything: Population, images: int, samples: int, seed: int, more: bool = True) -> pd.DataFrame:
    """One row per method and measure: how often its interval holds the number of the whole population.

    Args:
        everything: The population; of two methods, the interval is of their difference.
        images: Images per sample.
        samples: Number of samples.
        seed: Of the samples.
        more: Whether to try the two methods that need more than replicates of the means.
    """
    truths = [measure(everything.total(number)).mean for number in range(len(everything.counts))]
    truth = truths[0] if len(truths) == 1 else truths[1] - truths[0]
    rows = []
    for number, sample in enumerate(everything.samples(images, samples, seed)):
        resampler = Resampler(images, RESAMPLES, seed=number)
        sides = [resampler.replicates(counts)[0] for counts in sample]
        numbers = sides[0] if len(sides) == 1 else sides[1] - sides[0]
        once = seen_once(sample[0])
        ends = {name: make(numbers, once) for name, make in METHODS.items()}
        if more and len(sides) == 1:
            ends["m out of n"] = half_samples(sample[0], numbers, number)
            ends["studentised"] = studentised(sample[0], numbers, resampler)
        for name, (low, high) in ends.items():
            for column, what in enumerate(MEASURES):
                held = low[column] <= truth[column] <= high[column]
                rows.append((name, what, held, np.isnan(low[column]), high[column] - low[column], once))
    frame = pd.DataFrame(rows, columns=["method", "measure", "held", "refused", "width", "seen_once"])
    frame["held"] = frame["held"].astype(float).where(~frame["refused"])
    grouped = frame.groupby(["method", "measure"], sort=False)
    table = grouped.agg(
        coverage=("held", "mean"), refused=("refused", "mean"), width=("width", "mean"), seen_once=("seen_once", "mean")
    )
    table[["coverage", "refused"]] *= 100
    return table.assign(samples=samples, truth=np.tile(truth, len(table) // len(truth))).reset_index()


def study(kind: str, world: World, classes: int, images: int, samples: int, seed: int) -> pd.DataFrame:
    """Coverage in one world, over two class lists with other frequencies and accuracies.

    Args:
        kind: "alone", "paired" (methods differ) or "equal" (they do not).
        world: The world.
        classes: Number of classes.
        images: Images per sample.
        samples: Samples per class list.
        seed: Of everything.
    """
    frames = []
    for draw in range(2):
        everything = population(world, classes, IMAGES, seed + draw, methods=1 if kind == "alone" else 2)
        everything = interchangeable(everything) if kind == "equal" else everything
        frames.append(coverage(everything, images, samples, seed + draw, more=classes < 847))
    head = {"kind": kind, "classes": classes, "images": images, "world": world.name}
    return pd.concat([frame.assign(**head, draw=draw) for draw, frame in enumerate(frames)], ignore_index=True)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage over all worlds, and in the worst of them; samples without an interval are counted apart."""
    table = table.assign(given=table["samples"] * (1 - table["refused"] / 100))
    table["held"] = (table["coverage"] * table["given"]).fillna(0)
    keys = ["kind", "classes", "images", "method", "measure"]
    worlds = table.groupby([*keys, "world"], sort=False)[["samples", "given", "held"]].sum()
    worlds["worst"] = worlds["held"] / worlds["given"].where(worlds["given"] > 0)
    summed = worlds.groupby(keys, sort=False).agg(
        samples=("samples", "sum"), given=("given", "sum"), held=("held", "sum"), worst_world=("worst", "min")
    )
    summed["coverage"] = summed["held"] / summed["given"].where(summed["given"] > 0)
    summed["refused"] = 100 * (1 - summed["given"] / summed["samples"])
    summary = summed[["samples", "coverage", "worst_world", "refused"]].reset_index()
    return summary[~((summary["method"] == "studentised") & (summary["measure"] != "mIoU"))].reset_index(drop=True)


def page(summary: pd.DataFrame) -> str:
    """Tables of the documentation: before, the alternatives, after."""
    heads = {
        "alone": "One method: share of 95 % intervals that hold the true number, in percent",
        "equal": "Two methods between which nothing differs: share of paired intervals that hold zero",
        "paired": "Two methods that differ: share of paired intervals that hold the true difference",
    }
    parts = []
    for kind, head in heads.items():
        part = summary[summary["kind"] == kind]
        parts.append(f"### {head}\n")
        names = [name for name in ORDER if name in set(part["method"])]
        rows = []
        for (classes, images, what), group in part.groupby(["classes", "images", "measure"], sort=False):
            cells = group.set_index("method")["coverage"].reindex(names)
            row = {"classes": classes, "images": images, "measure": what, "samples": int(group["samples"].iloc[0])}
            row |= {name: "-" if np.isnan(value) else f"{value:.0f}" for name, value in cells.items()}
            last = group.set_index("method").loc["calibrated"]
            rows.append(row | {"worst world": f"{last['worst_world']:.0f}", "too few": f"{last['refused']:.0f}"})
        parts.append(to_markdown(pd.DataFrame(rows)))
    return "\n".join(parts)


def write(table: pd.DataFrame) -> None:
    """Put the summary into docs/intervals.csv, and its tables between the marks of docs/intervals.md."""
    summary = summarise(table)
    TABLE.write_text(to_csv(summary, decimals=1), encoding="utf-8")
    document = TABLE.with_suffix(".md")
    before, rest = document.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    document.write_text(f"{before}{MARKS[0]}\n{page(summary)}{MARKS[1]}{after}", encoding="utf-8")


def main() -> None:
    """Simulate, print progress, write the tables."""
    parser = argparse.ArgumentParser(description="Simulated coverage of 95 % intervals.")
    parser.add_argument("--samples", type=int, default=40, help="samples per class list and world; a third for 847")
    parser.add_argument("--kind", action="append", choices=("alone", "paired", "equal"), help="all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a CSV file with every world, instead of the tables in docs/")
    chosen = parser.parse_args()
    frames = []
    for kind in chosen.kind or ("alone", "paired", "equal"):
        for classes, images in SETTINGS if kind == "alone" else PAIRED:
            samples = max(1, chosen.samples // 3) if classes == 847 else chosen.samples
            for world in WORLDS:
                found = study(kind, world, classes, images, samples, chosen.seed)
                frames.append(found)
                shown = found[found["measure"] == "mIoU"].groupby("method", sort=False)["coverage"].mean().round(1)
                print(kind, classes, images, world.name, shown.to_dict(), flush=True)
    table = pd.concat(frames, ignore_index=True)
    if chosen.out:
        table.to_csv(chosen.out, index=False, float_format="%.3f", lineterminator="\n")
    else:
        write(table)


if __name__ == "__main__":
    main()
