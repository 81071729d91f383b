"""Study configurations: TOML files that name models, data sets, protocols and methods."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ovss.errors import InputError, suggest
from ovss.files.text import parse, read_text

DEFAULT = "tiny"
"""The configuration that runs offline."""


@dataclass(frozen=True)
class ModelSpec:
    """One model of a study.

    Attributes:
        model: "tiny", an open_clip architecture, or "hf-hub:...".
        pretrained: open_clip tag or checkpoint file; empty for the embedded model.
    """

    model: str
    pretrained: str = ""

    @property
    def label(self) -> str:
        """Short name for tables and task names: "ViT-B-16 openai"."""
        weights = Path(self.pretrained).stem if _is_file_name(self.pretrained) else self.pretrained
        return f"{self.model} {weights}".strip()


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of a study.

    Attributes:
        name: Name of the data set.
        split: Which split.
        root: Folder of the data; empty to take it from the environment or the user's configuration.
        limit: Use the first so many images; 0 uses all.
    """

    name: str
    split: str = "val"
    root: str = ""
    limit: int = 0


@dataclass(frozen=True)
class NotebookSpec:
    """What a configuration says about one study notebook; empty tuples leave nothing out.

    Attributes:
        models: Run it on these models only.
        datasets: Run it on these data sets only.
        protocols: Run it under these protocols only.
        parameters: Values for parameters that the notebook declares.
    """

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StudyConfig:
    """A study: every notebook template is run on every combination of the axes that it declares.

    Attributes:
        name: Name of the study and of its folder under `reports/run/`.
        title: Heading of the report.
        description: A sentence or two below the heading.
        models: Models.
        datasets: Data sets.
        protocols: Protocol names or files.
        methods: Method labels such as "naclip" or "naclip(sigma=3.0)".
        seeds: Seeds of everything drawn at random.
        templates: Beginnings of the notebook names to run, such as "22"; empty runs all.
        threads: CPU threads of each notebook.
        notebooks: Settings of single notebooks, by name.
    """

    name: str
    title: str
    models: tuple[ModelSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    protocols: tuple[str, ...]
    methods: tuple[str, ...]
    description: str = ""
    seeds: tuple[int, ...] = (0,)
    templates: tuple[str, ...] = ()
    threads: int = 1
    notebooks: Mapping[str, NotebookSpec] | None = None


def list_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("ovss.study") / "configs"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(source: str | Path = DEFAULT) -> StudyConfig:
    """A configuration by name or from a TOML file.

    Args:
        source: One of `list_configs()`, or a path. Relative `root` and checkpoint paths in a file count from its
            folder.

    Raises:
        InputError: No such file or name, no valid TOML, an unknown key, a value of the wrong type, a missing entry.
    """
    path = Path(source)
    name = str(source).removesuffix(".toml")
    if path.is_file():
        text, base = read_text(path, "configuration file"), path.resolve().parent
    elif name in list_configs():
        text, base = (resources.files("ovss.study") / "configs" / f"{name}.toml").read_text(encoding="utf-8"), None
    else:
        raise InputError(f"configuration '{source}' is neither a file nor a name.{suggest(name, list_configs())}")
    return _parse(parse(text, "TOML", str(source)), str(source), base)


def _parse(content: dict[str, Any], source: str, base: Path | None) -> StudyConfig:
    _check_keys(content, StudyConfig, source, "")
    for key in ("name", "title", "models", "datasets", "protocols", "methods"):
        if not content.get(key):
            raise InputError(f"{source}: '{key}' is missing or empty")
    models = tuple(_entry(ModelSpec, entry, source, "models") for entry in _tables(content, "models", source))
    data = tuple(_entry(DatasetSpec, entry, source, "datasets") for entry in _tables(content, "datasets", source))
    kinds = {"name": str, "title": str, "description": str, "threads": int}
    values: dict[str, Any] = {key: content[key] for key in kinds if key in content}
    for key, value in values.items():
        _check_type(value, kinds[key], source, key)
    if not str(content["name"]).replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"{source}: name = {content['name']!r} must be letters, digits, '-' and '_', it names a folder"
        )
    if values.get("threads", 1) < 1:
        raise InputError(f"{source}: threads = {values['threads']} must be at least 1")
    return StudyConfig(
        models=tuple(_anchor(spec, "pretrained", base) for spec in models),
        datasets=tuple(_anchor(spec, "root", base) for spec in data),
        protocols=_list(content, "protocols", str, source),
        methods=_methods(content, source),
        seeds=_list(content, "seeds", int, source) or (0,),
        templates=_list(content, "templates", str, source),
        notebooks={
            key: _notebook(entry, source, f"notebooks.{key}") for key, entry in content.get("notebooks", {}).items()
        },
        **values,
    )


def _methods(content: dict[str, Any], source: str) -> tuple[str, ...]:
    from ovss.methods import resolve_methods

    names = ("all",) if content["methods"] == "all" else _list(content, "methods", str, source)
    try:
        return tuple(resolve_methods(list(names)))
    except InputError as error:
        raise InputError(f"{source}: methods: {error}") from error


def _notebook(entry: Any, source: str, where: str) -> NotebookSpec:
    if not isinstance(entry, dict):
        raise InputError(f"{source}: [{where}] must be a table")
    _check_keys(entry, NotebookSpec, source, where)
    _check_type(entry.get("parameters", {}), dict, source, f"{where}.parameters")
    axes = {key: _list(entry, key, str, source) for key in ("models", "datasets", "protocols")}
    return NotebookSpec(**axes, parameters=entry.get("parameters", {}))


def _entry(cls: type, entry: dict[str, Any], source: str, where: str) -> Any:
    _check_keys(entry, cls, source, where)
    for item in fields(cls):
        if item.name in entry:
            _check_type(entry[item.name], int if item.name == "limit" else str, source, f"{where}.{item.name}")
    first = fields(cls)[0].name
    if not entry.get(first):
        raise InputError(f"{source}: an entry of [[{where}]] has no '{first}'")
    if entry.get("limit", 0) < 0:
        raise InputError(f"{source}: {where}.limit = {entry['limit']} must be 0 (all images) or more")
    return cls(**entry)


def _tables(content: dict[str, Any], key: str, source: str) -> list[dict[str, Any]]:
    value = content[key]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InputError(f"{source}: '{key}' must be tables headed [[{key}]]")
    return value


def _list(content: dict[str, Any], key: str, kind: type, source: str) -> tuple[Any, ...]:
    value = content.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{source}: {key} = {value!r} must be a list")
    for entry in value:
        _check_type(entry, kind, source, key)
    if len(set(value)) != len(value):
        raise InputError(f"{source}: {key} = {value!r} holds the same entry twice")
    return tuple(value)


def _check_keys(content: dict[str, Any], cls: type, source: str, where: str) -> None:
    known = [item.name for item in fields(cls)]
    for key in content:
        if key not in known:
            raise InputError(f"{source}: unknown key '{f'{where}.{key}' if where else key}'.{suggest(key, known)}")


def _check_type(value: Any, kind: type, source: str, key: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {str: "a string", int: "a whole number", dict: "a table"}
        raise InputError(f"{source}: {key} = {value!r} must be {words[kind]}")


def _anchor(spec: Any, key: str, base: Path | None) -> Any:
    """A path of a configuration file counts from the file's folder, wherever the command is started."""
    value = getattr(spec, key)
    if base is None or not value or Path(value).is_absolute() or (key == "pretrained" and not _is_file_name(value)):
        return spec
    return type(spec)(**{item.name: getattr(spec, item.name) for item in fields(spec)} | {key: str(base / value)})


def _is_file_name(pretrained: str) -> bool:
    return Path(pretrained).suffix in {".safetensors", ".pt", ".bin"}
