"""All attacks of this folder: `python tests/attack/run.py --all` runs the whole, `--share 0.1` a tenth; prints counts.

Every attack draws what it does from a seed, and ends with the first thing that is lost, used silently, or ends with
another exit code than it should; the message says which draw it was.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import clusters
import corruption
import hostile
import kills
import markup
import torch
from damage import attack_report
from study_notebooks import write_config, write_study

from ovss.study.config import load_config
from ovss.study.plan import find_templates
from ovss.study.progress import Display
from ovss.study.run import run_study


def corrupt_report(folder: Path, count: int, seed: int) -> Counter[str]:
    """Damage the files of a report, one in ten of them what its notebooks left."""
    config = load_config(write_config(folder, '[notebooks.22_table]\ndatasets = ["scenes"]\n'))
    templates = find_templates(write_study(folder))

    def run():
        with (folder / "shown").open("w") as shown:
            return run_study(config, folder / "report", templates, jobs=1, display=Display(shown))

    run()
    states = count // 10
    found = attack_report(folder / "report", run, count - states, seed, states)
    return Counter({f"{kind}: {outcome}": number for (kind, outcome), number in found.items()})


def corrupt_run(folder: Path, count: int, seed: int) -> Counter[str]:
    """Damage the files of an evaluation."""
    found = corruption.attack(folder, count, seed)
    return Counter({f"{kind}: {outcome}": number for (kind, outcome), number in found.items()})


ATTACKS: dict[str, tuple[Callable[[Path, int, int], Counter[str]], int]] = {
    "corruptions of an evaluation": (corrupt_run, 400),
    "corruptions of a report": (corrupt_report, 100),
    "kills of evaluate": (kills.kill_evaluate, 100),
    "kills of reproduce": (kills.kill_reproduce, 20),
    "hostile inputs": (hostile.attack, 2000),
    "full disk": (kills.full_disk, 40),
    "two runs in one folder": (kills.two_runs, 10),
    "cluster faults": (clusters.attack, 15),
    "markup": (markup.attack, 200),
}
"""Each attack with the number of things that the whole of it does."""


def main() -> int:
    """Run the attacks and print their table; 1 when one found a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="the whole of every attack")
    parser.add_argument("--share", type=float, default=0.1, metavar="X", help="share of the whole (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ATTACKS), default=list(ATTACKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    faults = 0
    for name in arguments.only:
        attack, whole = ATTACKS[name]
        count = whole if arguments.all else max(1, round(whole * arguments.share))
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ovss-attack-") as folder:
            os.environ["OVSS_CACHE"] = str(Path(folder) / "cache")
            try:
                found, fault = attack(Path(folder), count, arguments.seed), ""
            except AssertionError as error:
                found, fault, faults = Counter(), f"FAULT: {error}", faults + 1
        print(f"{name}: {count} in {time.monotonic() - started:.0f} s{'' if fault else ', none lost or used silently'}")
        for outcome, number in sorted(found.items()):
            print(f"  {number:5}  {outcome}")
        print(f"  {fault}" * bool(fault), end="\n" * bool(fault), flush=True)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
