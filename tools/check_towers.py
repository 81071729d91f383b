"""Facts and conformance of every configuration of open_clip, with random weights: ovss/backbone/models.csv.

    python tools/check_towers.py                     all configurations, each in a process of its own
    python tools/check_towers.py NAME ...            some of them; the other rows stay as they are
    python tools/check_towers.py --facts             sizes only, without computing with the towers

Only the image tower is built. A tower of more than 700 million parameters is cut to its first blocks (and the table
says so), because what is checked is the same in every block. Weights are drawn so that no part is without effect:
as they are initialised, layer scales of 1e-5, biases of 0 and heads of 1e-5 would hide what is wrong.
"""

import argparse
import csv
import sys
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "ovss" / "backbone" / "models.csv"
FACTS = ("model", "family", "refused", "patch", "height", "width", "depth", "parameters", "pooling", "class_token")
CHECK = ("blocks_checked", "pooled", "one_hot")
LARGE, CUT = 700_000_000, 4


def facts(name: str) -> dict[str, str]:
    """Row of a configuration, without its check."""
    from ovss.backbone.catalogue import measure_model

    found = measure_model(name)
    values = (name, found.family, found.refused, found.patch_size, *found.native_size, found.depth, found.parameters)
    return dict(zip(FACTS, map(str, (*values, found.pooling, "yes" if found.class_token else "no")), strict=True))


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--facts", action="store_true")
    arguments = parser.parse_args()
    import open_clip

    rows = {}
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    for name in arguments.names or open_clip.list_models():
        rows[name] = dict.fromkeys(CHECK, "") | rows.get(name, {}) | facts(name)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, (*FACTS, *CHECK), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in open_clip.list_models() if name in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
