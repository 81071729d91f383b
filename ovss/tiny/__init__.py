"""The embedded default: the procedural `scenes` data set and a small CLIP trained on it from scratch."""

from __future__ import annotations

from pathlib import Path

ARCHITECTURE = "ovss-tiny"
CONFIGS = Path(__file__).parent / "model_configs"
WEIGHTS = Path(__file__).parent / "tiny.safetensors"
RECORD = Path(__file__).parent / "tiny.json"
CURVE = Path(__file__).parent / "training_curve.csv"


def register() -> str:
    """Make `ovss-tiny` known to open_clip and return that name; calling it again changes nothing."""
    # Here, so that the words of `scenes` can be had without a model library.
    import open_clip

    if ARCHITECTURE not in open_clip.list_models():
        open_clip.add_model_config(CONFIGS)
    return ARCHITECTURE
