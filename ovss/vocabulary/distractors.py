"""Words that stand for nothing in a data set, in one fixed order: a vocabulary card puts them beside the classes."""

import json
from pathlib import Path

__all__ = ["DISTRACTORS"]

DISTRACTORS: tuple[str, ...] = tuple(json.loads((Path(__file__).parent / "distractors.json").read_text("utf-8")))
"""Things that a camera may see; those that a data set has itself are passed over where they are used."""
