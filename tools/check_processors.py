"""Do the tests that depend on numbers hold on other processors? `python tools/check_processors.py [TEST ...]`.

Runs them once per setting of the libraries' instruction sets and threads, and with noise in the model's weights, and
prints a table. Settings are limits: a processor without AVX-512 runs "avx512" as what it has.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TWO = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
NOISE = {"OVSS_WEIGHT_NOISE": "1e-6", "PYTHONPATH": str(ROOT / "tools" / "noise")}
SETTINGS = {
    "as it is, 1 thread": ONE,
    "as it is, 2 threads": TWO,
    "avx512, 1 thread": {"ATEN_CPU_CAPABILITY": "avx512"} | ONE,
    "avx2, 1 thread": AVX2 | ONE,
    "avx2, 2 threads": AVX2 | TWO,
    "no vectors, 1 thread": PLAIN | ONE,
    "no vectors, 2 threads": PLAIN | TWO,
    "noise 1e-6, 1 thread": NOISE | ONE,
    "noise 1e-6, avx2, 2 threads": NOISE | AVX2 | TWO,
}
BESIDE = {"attack", "browser", "cli", "helpers", "project", "provenance", "report", "study"}
"""Folders of tests whose results do not depend on numbers; walkthroughs do, they print them."""
TOO_LONG = "notebooks_full_size or notebooks_towers"
"""Walkthroughs on models of full size take hours without vectors and print no number that is compared."""
OF_WEIGHTS = "checkpoint_files_load or copy_of_a_repository or random_weights_take_the_settings or share_no_record"
"""Tests that weights are those of their file or of one model in memory, to the bit, which noise in them denies."""


def main() -> int:
    """Run every setting; 0 when all are green."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", help="test files or folders (default: all that depend on numbers)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    arguments = parser.parse_args()
    rooms = sorted({path.parent for path in (ROOT / "tests").glob("*/test_*.py")})
    tests = arguments.tests or [str(room) for room in rooms if room.name not in BESIDE]
    rows = [_run(name, tests) for name in arguments.settings]
    print("\n| setting | passed | failed | skipped | seconds |\n| --- | --- | --- | --- | --- |")
    for name, counts, seconds in rows:
        print(f"| {name} | {counts['passed']} | {counts['failed']} | {counts['skipped']} | {seconds:.0f} |")
    return 1 if any(counts["failed"] or not counts["passed"] for _, counts, _ in rows) else 0


def _run(name: str, tests: list[str]) -> tuple[str, dict[str, int], float]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ovss-") as cache:
        settings = dict(SETTINGS[name])
        if "PYTHONPATH" in settings:
            settings["PYTHONPATH"] = os.pathsep.join(
                filter(None, [settings["PYTHONPATH"], os.environ.get("PYTHONPATH")])
            )
        environment = os.environ | settings | {"OVSS_CACHE": cache}
        left_out = f"not ({TOO_LONG})" + (f" and not ({OF_WEIGHTS})" if NOISE.items() <= SETTINGS[name].items() else "")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", left_out, *tests]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    ends = [line for line in result.stdout.splitlines() if re.search(r"\d+ (passed|failed|errors?)\b.* in ", line)]
    last = ends[-1:] or [result.stderr[-300:]]
    words = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last[0])}
    failed = words.get("failed", 0) + words.get("error", 0) + words.get("errors", 0)
    print(f"{name}: {last[0]}", flush=True)
    for line in result.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}", flush=True)
    return name, {"passed": words.get("passed", 0), "failed": failed, "skipped": words.get("skipped", 0)}, seconds


if __name__ == "__main__":
    sys.exit(main())
