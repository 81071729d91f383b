"""Where each number comes from: one entry per distinct set of inputs, with an address to link to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ovss.files import digest

__all__ = ["FACTS"]

FACTS = (
    *("method", "method_name", "parameters", "support", "set_per_dataset", "model", "pretrained", "weights_hash"),
    *("dataset", "split", "dataset_fingerprint", "reading", "images", "skipped", "protocol", "protocol_hash"),
    *("resize_filter", "vocabulary", "variant", "vocabulary_hash", "device", "dtype", "batch_size", "seed"),
    *("code_hash", "key"),
    *("ovss", "python", "torch", "torchvision", "open_clip", "numpy", "scikit_learn", "pillow", "notebook"),
)
"""Columns that say what produced a row, in the order in which they are shown."""
_COMPLETE = "weights_hash"
"""Column that makes a table one of numbers whose whole origin is in the row."""


@dataclass
class Provenance:
    """Collects entries while tables are rendered; every row names its `notebook`, the page of the copy that made it."""

    entries: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_run(self, row: Mapping[Any, Any]) -> None:
        """Make an entry for an evaluation, which rows of the same notebook with its `key` are linked to."""
        self._add(_run_name(row), row)

    def address(self, row: Mapping[Any, Any]) -> str | None:
        """Address of the entry for a row, made when it is new; None for a row that does not say what made it."""
        if _COMPLETE in row:
            return self._add(None, row)
        return _address(_run_name(row)) if _run_name(row) in self.entries else None

    def common(self) -> dict[str, str]:
        """Facts that all entries agree in."""
        if not self.entries:
            return {}
        first, *others = self.entries.values()
        return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

    def differing(self) -> list[str]:
        """Names of the other facts, in the order of `FACTS`."""
        known, common = {name for facts in self.entries.values() for name in facts}, self.common()
        return [name for name in FACTS if name in known and name not in common and name != "notebook"]

    def _add(self, name: str | None, row: Mapping[Any, Any]) -> str:
        facts = {name: _text(row[name]) for name in FACTS if name in row and not pd.isna(row[name]) and row[name] != ""}
        name = name or digest(facts)[:10]
        self.entries[name] = facts
        return _address(name)


def _run_name(row: Mapping[Any, Any]) -> str:
    """Two notebooks may use one evaluation; each number leads to the notebook that printed it."""
    return f"run-{digest([str(row.get('key')), str(row['notebook'])])[:10]}"


def _address(name: str) -> str:
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
