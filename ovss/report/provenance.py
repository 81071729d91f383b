"""Where each number comes from: one entry per distinct set of inputs, with an address to link to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ovss.files import digest

__all__ = ["FACTS"]

FACTS = (
    *("method", "method_name", "parameters", "model", "pretrained", "weights_hash"),
    *("dataset", "split", "dataset_fingerprint", "reading", "images", "skipped", "protocol", "protocol_hash"),
    *("vocabulary", "variant", "vocabulary_hash", "device", "dtype", "batch_size", "seed", "code_hash", "key"),
    *("ovss", "python", "torch", "torchvision", "open_clip", "numpy", "scikit_learn", "pillow"),
)
"""Columns that say what produced a row, in the order in which they are shown."""
_COMPLETE = "weights_hash"
"""Column that makes a table one of numbers whose whole origin is in the row."""


@dataclass
class Provenance:
    """Collects entries while tables are rendered."""

    entries: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_run(self, row: Mapping[Any, Any], notebook: str) -> None:
        """Make an entry for an evaluation, which rows with its `key` are linked to."""
        self._add(f"run-{row['key'][:10]}", row, notebook)

    def address(self, row: Mapping[Any, Any], notebook: str) -> str | None:
        """Address of the entry for a row, made when it is new; None for a row that does not say what made it."""
        if _COMPLETE in row:
            return self._add(None, row, notebook)
        name = f"run-{str(row.get('key'))[:10]}"
        return f"provenance.html#p-{name}" if name in self.entries else None

    def _add(self, name: str | None, row: Mapping[Any, Any], notebook: str) -> str:
        facts = {name: _text(row[name]) for name in FACTS if name in row and not pd.isna(row[name]) and row[name] != ""}
        facts["notebook"] = notebook
        name = name or digest(facts)[:10]
        self.entries[name] = facts
        return f"provenance.html#p-{name}"


def _text(value: Any) -> str:
    if isinstance(value, str) and value[:1] in "[{":
        try:
            content = json.loads(value)
        except json.JSONDecodeError:
            return value
        if isinstance(content, dict):
            return ", ".join(f"{name} {part}" for name, part in content.items()) or "none"
        return ", ".join(map(str, content)) or "none"
    return str(value)
