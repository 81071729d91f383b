"""The embedded default: the procedural `scenes` data set and a small CLIP trained on it from scratch."""

from __future__ import annotations

from pathlib import Path

import open_clip

ARCHITECTURE = "ovss-tiny"
CONFIGS = Path(__file__).parent / "model_configs"
WEIGHTS = Path(__file__).parent / "tiny.safetensors"
RECORD = Path(__file__).parent / "tiny.json"
CURVE = Path(__file__).parent / "training_curve.csv"


def register() -> str:
    """Make `ovss-tiny` known to open_clip and return that name; calling it again changes nothing."""
    if ARCHITECTURE not in open_clip.list_models():
        open_clip.add_model_config(CONFIGS)
    return ARCHITECTURE
