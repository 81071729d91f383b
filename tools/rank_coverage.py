"""How often intervals of ranks hold, by simulation: the last table of docs/intervals.md.

    python tools/rank_coverage.py                               # three minutes; writes docs/intervals.md
    python tools/rank_coverage.py --samples 5 --out look.csv    # a look

The same arguments give the same table. Populations are those of `simulated_images`, seen by several methods.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent))
from simulated_images import WORLDS, Population, population

from ovss.files.tables import to_markdown
from ovss.metrics import measure
from ovss.metrics.ranks import rank_intervals, ranks_of
from ovss.metrics.resampling import Replicates, Resampler, seen_once

SETTINGS = ((21, 100), (21, 300), (21, 1449), (150, 300))
METHODS = 6
IMAGES = 20_000
RESAMPLES = 400
MARKS = ("<!-- ranks: written by tools/rank_coverage.py -->", "<!-- end of ranks -->")
PAGE = Path(__file__).parents[1] / "docs" / "intervals.md"


def equal(everything: Population) -> Population:
    """Methods between which nothing differs: each image once for every way to turn their results round."""
    parts = everything.counts
    turned = [sparse.vstack([*parts[first:], *parts[:first]]).tocsr() for first in range(len(parts))]
    return Population(tuple(turned), everything.classes)


def percentiles(scores: Replicates) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95 % of the ranks over resamples."""
    low, high = np.percentile(ranks_of(scores.resampled), [2.5, 97.5], axis=0, method="nearest")
    return low, high


def coverage(everything: Population, images: int, samples: int, seed: int) -> pd.DataFrame:
    """Per way to make the interval: share of the methods whose interval holds all ranks that the population allows.

    Args:
        everything: The population.
        images: Images per sample.
        samples: Number of samples.
        seed: Of the samples.
    """
    truth = np.array([measure(everything.total(number)).mean[0] for number in range(len(everything.counts))])
    close = np.isclose(truth[:, None], truth, rtol=0, atol=1e-9)
    best = 1 + ((truth > truth[:, None]) & ~close).sum(1)
    worst = len(truth) - ((truth < truth[:, None]) & ~close).sum(1)
    rows = []
    for number, sample in enumerate(everything.samples(images, samples, seed)):
        resampler, once = Resampler(images, RESAMPLES, seed=number), seen_once(sample[0])
        scores = Replicates.side_by_side([resampler.replicates(counts)[0].column(0) for counts in sample])
        for name, (low, high) in (("percentile", percentiles(scores)), ("certain", rank_intervals(scores, once))):
            held = (low <= best) & (worst <= high)
            rows.append((name, held.mean(), held.all(), (high - low + 1).mean()))
    frame = pd.DataFrame(rows, columns=["interval", "each", "all", "ranks"])
    return frame.groupby("interval", sort=False).mean().reset_index().assign(samples=samples)


def study(samples: int, seed: int) -> pd.DataFrame:
    """Coverage in every world, where methods differ and where they do not.

    Args:
        samples: Samples per world.
        seed: Of everything.
    """
    frames = []
    for classes, images in SETTINGS:
        for world in WORLDS:
            everything = population(world, classes, IMAGES, seed, methods=METHODS)
            for kind, people in (("differ", everything), ("equal", equal(everything))):
                found = coverage(people, images, samples, seed)
                frames.append(found.assign(classes=classes, images=images, world=world.name, methods=kind))
                print(classes, images, world.name, kind, found.round(3).to_dict("records"), flush=True)
    return pd.concat(frames, ignore_index=True)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Means over worlds, and coverage in the worst of them."""
    rows = []
    for (classes, images, kind), part in table.groupby(["classes", "images", "methods"], sort=False):
        row = {"classes": classes, "images": images, "methods": kind, "samples": int(part["samples"].sum() // 2)}
        for name, found in part.groupby("interval", sort=False):
            row |= {
                name: f"{100 * found['each'].mean():.0f}",
                f"{name}, worst world": f"{100 * found['each'].min():.0f}",
            }
            row |= {f"{name}, ranks": f"{found['ranks'].mean():.1f}"}
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Simulate, print progress, write the table."""
    parser = argparse.ArgumentParser(description="Simulated coverage of 95 % intervals of ranks.")
    parser.add_argument("--samples", type=int, default=60, help="samples per world and setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a CSV file with every world, instead of the table in docs/")
    chosen = parser.parse_args()
    table = study(chosen.samples, chosen.seed)
    if chosen.out:
        table.to_csv(chosen.out, index=False, float_format="%.4f", lineterminator="\n")
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{to_markdown(summarise(table))}{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
