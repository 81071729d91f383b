"""The training record that travels with the weights: what was done, with what, and what came out."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ovss.backbone import Backbone
from ovss.files import atomic_write, file_digest
from ovss.methods import Method, create_method
from ovss.metrics.intervals import compare_bootstrap
from ovss.scenes.captions import SYNONYMS
from ovss.scenes.objects import HELD_OUT_COLOURS, HELD_OUT_NIGHT
from ovss.tiny import CURVE, RECORD, WEIGHTS
from ovss.training import quality as examine
from ovss.training.trainer import Trainer

_FRESH_SPLIT = "test-7"
"""Scenes that neither training nor the choice of the recipe has seen."""


def _report_methods() -> dict[str, Method]:
    """The methods of a record: plain CLIP, what the papers repair, and the same repairs half done."""
    return {
        "clip": create_method("clip"),
        "maskclip": create_method("maskclip"),
        "sclip": create_method("sclip"),
        "sclip, no residual, no FFN": create_method("sclip", residual=False, ffn=False),
        "naclip": create_method("naclip"),
        "naclip, residual and FFN": create_method("naclip", arch="vanilla"),
    }


def _examination(backbone: Backbone, scenes: int = 500, per_thing: int = 25) -> dict[str, Any]:
    """Final figures of a model on scenes it has never seen.

    Args:
        backbone: The model.
        scenes: Scenes of the fresh split for the dense table; the shifted variant gets as many.
        per_thing: Single-object images per thing.

    Returns:
        `naming`, `compositional`, `dense` (per method, with the paired 95 % interval of the difference to `clip`),
        `shifted` (mIoU per method on `scenes-shifted`), `outliers` (per block).
    """
    methods = _report_methods()
    counts = examine.dense_counts(backbone, methods, _FRESH_SPLIT, scenes)
    dense = {name: examine.summarise(c) for name, c in zip(methods, counts, strict=True)}
    for name, own in zip(methods, counts, strict=True):
        if name != "clip":
            mean = compare_bootstrap(counts[0], own).mean
            ends = zip(("value", "low", "high"), mean, strict=True)
            dense[name]["over_clip"] = {end: round(float(values[0]), 2) for end, values in ends}
    shifted = examine.dense_counts(backbone, methods, _FRESH_SPLIT, scenes, "scenes-shifted")
    return {
        "split": _FRESH_SPLIT,
        "scenes": scenes,
        "naming": round(examine.naming(backbone, _FRESH_SPLIT, per_thing), 2),
        "compositional": examine.compositional(backbone, _FRESH_SPLIT, per_thing),
        "dense": dense,
        "shifted": {name: examine.summarise(c)["miou"] for name, c in zip(methods, shifted, strict=True)},
        "outliers": examine.outliers(backbone, _FRESH_SPLIT, 64),
    }


def write_record(
    trainer: Trainer, rows: list[dict[str, float]], weights: Path, path: Path, first: Path | None = None
) -> None:
    """Examine a trained model and write its record as JSON.

    Args:
        trainer: The finished trainer.
        rows: Training curve.
        weights: The exported file, whose SHA-256 the record names.
        path: Where to write.
        first: Record of the run whose weights this one started from, of which the training becomes part of this one.
    """
    record = {
        "weights": {"sha256": file_digest(weights), "bytes": weights.stat().st_size},
        "training": {
            "recipe": trainer.recipe.as_dict(),
            "steps": trainer.step,
            "views": trainer.views,
            "seconds": round(trainer.seconds),
            "views_per_second": round(trainer.views / max(trainer.seconds, 1e-9)),
            "final_loss": rows[-1]["loss"],
        },
        **({"first_training": json.loads(first.read_text())["training"]} if first and first.exists() else {}),
        "hardware": {"cores": os.cpu_count(), "machine": platform.machine(), "gpu": None},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "open_clip_torch", "numpy")},
        },
        "vocabulary": {"synonyms": {name: list(words) for name, words in SYNONYMS.items()}},
        "held_out": {"colour": sorted(map(list, HELD_OUT_COLOURS)), "night": sorted(HELD_OUT_NIGHT)},
        "examination": _examination(
            trainer.trainee.backbone(), trainer.recipe.examine_scenes, max(1, trainer.recipe.examine_scenes // 20)
        ),
    }
    with atomic_write(path, "w") as file:
        json.dump(record, file, indent=1, default=_plain)
        file.write("\n")


def ship(folder: Path, others: Sequence[Path] = ()) -> None:
    """Make a finished run the embedded model: copy its weights and curve, and extend its record by the other runs.

    Args:
        folder: The run to ship.
        others: Finished runs of other seeds; the record keeps seed, length and main figures of each.
    """
    record = json.loads((folder / RECORD.name).read_text())
    record["other_runs"] = [_brief(json.loads((other / RECORD.name).read_text())) for other in others]
    for target in (WEIGHTS, CURVE):
        with atomic_write(target) as file:
            file.write((folder / target.name).read_bytes())
    with atomic_write(RECORD, "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")


def _brief(record: dict[str, Any]) -> dict[str, Any]:
    found, training = record["examination"], record["training"]
    dense = {name: {part: row[part] for part in ("miou", "things", "stuff")} for name, row in found["dense"].items()}
    figures = {"naming": found["naming"], "dense": dense, "shifted": found["shifted"]}
    return {"seed": training["recipe"]["seed"], "views": training["views"], "seconds": training["seconds"], **figures}


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to the record")
