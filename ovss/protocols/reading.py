"""Protocol files: found, read, checked and merged with what they extend."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovss.errors import InputError, suggest
from ovss.files.text import read_toml
from ovss.protocols.schema import DEFAULTS, REQUIRED, check_fields
from ovss.vocabulary.tables import list_vocabularies

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tables:
    """What a protocol was read from, so that it can be resolved for any data set and model.

    Attributes:
        base: Top-level fields.
        datasets: Fields that change, by data set.
        models: For each architecture the fields that change everywhere and those that change by data set.
        pinned: Fields that a caller set; nothing overrides them.
        description: One line.
    """

    base: dict[str, Any]
    datasets: dict[str, dict[str, Any]]
    models: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]]
    pinned: dict[str, Any]
    description: str = ""

    def fields(self, dataset: str | None, model: str | None) -> dict[str, Any]:
        """Fields for a data set and an architecture, the most specific table winning."""
        values = self.base | self.datasets.get(dataset or "", {})
        if model is not None and (key := _architecture(model)) in self.models:
            general, per_dataset = self.models[key]
            values = values | general | per_dataset.get(dataset or "", {})
        return values | self.pinned


def list_protocols() -> list[str]:
    """Names of the shipped protocols, sorted.

    Example:
        >>> from ovss import list_protocols
        >>> list_protocols()[:3]
        ['clearclip', 'clearclip-vanilla', 'clip_surgery']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def _architecture(name: str) -> str:
    return name.replace("/", "-").removesuffix("-quickgelu")


def find_protocol(name: str | Path, folder: Path) -> Path:
    """The file of a protocol: that of a shipped name, or a path (relative ones from `folder`).

    Raises:
        InputError: Neither a shipped name nor an existing .toml file.
    """
    if str(name) in list_protocols():
        return _FOLDER / f"{name}.toml"
    path = folder / name
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(f"protocol file '{path}' does not exist")
        return path
    hint = suggest(str(name), list_protocols())
    raise InputError(f"protocol '{name}' is unknown.{hint} A protocol of your own is given by its .toml file.")


def read_protocol(path: Path, seen: tuple[Path, ...]) -> Tables:
    """A file with everything it extends, checked and merged."""
    if path in seen:
        raise InputError(f"protocol file '{path}' extends itself: {' -> '.join(str(p) for p in (*seen, path))}")
    content = read_toml(path, "protocol file")
    file = f"protocol file '{path}'"
    parent, description = content.pop("extends", None), content.pop("description", "")
    for key, value in (("extends", parent or ""), ("description", description)):
        if not isinstance(value, str):
            raise InputError(f"{file}: {key} = {value!r} must be a string")
    start = read_protocol(find_protocol(parent, path.parent), (*seen, path)) if parent else Tables(DEFAULTS, {}, {}, {})
    datasets = _datasets(content.pop("datasets", {}), file)
    models = {}
    for model, table in _table(content.pop("models", {}), f"{file}, [models]").items():
        table = dict(_table(table, f"{file}, [models.{model}]"))
        nested = _datasets(table.pop("datasets", {}), f"{file}, [models.{model}]")
        models[_architecture(model)] = (check_fields(table, f"{file}, [models.{model}]"), nested)
    base = start.base | check_fields(content, file)
    for key in REQUIRED:
        if key not in base:
            raise InputError(f"{file}: key '{key}' is missing")
    merged = {name: start.models.get(name, ({}, {})) for name in {**start.models, **models}}
    for name, (general, nested) in models.items():
        merged[name] = (merged[name][0] | general, _merge(merged[name][1], nested))
    return Tables(base, _merge(start.datasets, datasets), merged, {}, description)


def _merge(old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: old.get(name, {}) | new.get(name, {}) for name in {**old, **new}}


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table, not {value!r}")
    return value


def _datasets(tables: Any, where: str) -> dict[str, dict[str, Any]]:
    known = [*list_vocabularies(), "folder"]
    result = {}
    for name, values in _table(tables, f"{where}, [datasets]").items():
        if name not in known:
            raise InputError(f"{where}, [datasets.{name}]: no such data set.{suggest(name, known)}")
        result[name] = check_fields(_table(values, f"{where}, [datasets.{name}]"), f"{where}, [datasets.{name}]")
    return result
