"""Are methods as cheap beside plain `encode_image` as they were? For maintainers; `ovss bench` judges nothing.

`python tools/bench_bounds.py [FILE]` reads what `ovss bench --ratios --model ViT-B-16 --json FILE` wrote, or measures
anew without one, and exits with 1 where a ratio is over its bound.
"""

import json
import sys
import tempfile
from pathlib import Path

from ovss.cli import main as ovss

BOUNDS = {
    "maskclip": 1.0,
    "clearclip": 1.0,
    "naclip": 1.0,
    "clip": 1.05,
    "sclip": 1.05,
    "scclip": 1.1,
    "clipseg_aaai25": 1.2,
    "cliptrase": 1.3,
    "pearl": 1.35,
    "glaclip": 1.35,
    "proxyclip": 1.35,
    "dihclip": 1.35,
    "sfp": 1.35,
    "cliper": 1.35,
    "gem": 1.6,
    "clip_surgery": 1.6,
    "18 methods, one pass": 3.0,
}
"""Largest acceptable ratio at 224 pixels, ViT-B/16."""
CLIPTRASE_336 = 1.15


def bound(subject: str, model: str, size: int) -> float | None:
    """Largest acceptable ratio of a subject, where one is set for this model and size."""
    if model.removesuffix("-quickgelu") != "ViT-B-16":
        return None
    if size == 336 and subject == "cliptrase":
        return CLIPTRASE_336
    return BOUNDS.get(subject) if size == 224 else None


def late(document: dict) -> list[str]:
    """A line per ratio that is over its bound.

    Args:
        document: What `ovss bench --ratios --json` wrote.
    """
    setting, lines = document["setting"], []
    for row in document["summary"]:
        limit = bound(row["subject"], setting["model"], setting["size"])
        if limit is not None and row["ratio"] > limit:
            lines.append(f"{row['subject']}: {row['ratio']:.3f} is over {limit}")
    return lines


def main(words: list[str]) -> int:
    """Print what is over its bound; returns 1 when something is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(words[0]) if words else Path(folder) / "bench.json"
        if not words and ovss(["bench", "--ratios", "--json", str(file)]):
            return 2
        lines = late(json.loads(file.read_text(encoding="utf-8")))
    print("\n".join(lines) or "no ratio is over its bound")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
