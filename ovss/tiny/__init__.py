"""The embedded default model, a small CLIP trained from scratch on `scenes`: where its files are and what it is called.

`ovss.backbone.names.register_tiny` makes the architecture known to open_clip.
"""

from pathlib import Path

__all__ = ["ARCHITECTURE", "CONFIGS", "CURVE", "RECORD", "WEIGHTS"]

ARCHITECTURE = "ovss-tiny"
CONFIGS = Path(__file__).parent / "model_configs"
WEIGHTS = Path(__file__).parent / "tiny.safetensors"
RECORD = Path(__file__).parent / "tiny.json"
CURVE = Path(__file__).parent / "training_curve.csv"
