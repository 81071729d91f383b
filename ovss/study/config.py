"""Study configurations: TOML files that name models, data sets, protocols and methods."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ovss.errors import InputError, suggest
from ovss.files.text import parse, read_text

__all__ = ["DEFAULT", "list_configs", "load_config", "read_config"]

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
    parameters: Mapping[str, Any] = field(default_factory=dict)


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
    notebooks: Mapping[str, NotebookSpec] = field(default_factory=dict)


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
    from ovss.methods import resolve_methods

    config = read_config(source)
    try:
        methods = tuple(resolve_methods(list(config.methods)))
    except InputError as error:
        raise InputError(f"{source}: methods: {error}") from error
    return replace(config, methods=methods)


def read_config(source: str | Path = DEFAULT) -> StudyConfig:
    """A configuration as `load_config` reads it, but for the names of its methods, which only their modules know.

    Args:
        source: As for `load_config`.

    Raises:
        InputError: As there.
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
    if content.get("methods") == "all":
        content = content | {"methods": ["all"]}
    config: StudyConfig = _read(StudyConfig, content, source, "")
    if not config.name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"{source}: name = {config.name!r} must be letters, digits, '-' and '_', it names a folder")
    if config.threads < 1:
        raise InputError(f"{source}: threads = {config.threads} must be at least 1")
    for spec in config.datasets:
        if spec.limit < 0:
            raise InputError(f"{source}: datasets.limit = {spec.limit} must be 0 (all images) or more")
    models = tuple(_anchor(spec, "pretrained", base) for spec in config.models)
    data = tuple(_anchor(spec, "root", base) for spec in config.datasets)
    return replace(config, models=models, datasets=data, seeds=config.seeds or (0,))


def _read(kind: Any, value: Any, source: str, where: str) -> Any:
    """A value of a TOML file as the type that a dataclass declares for it.

    Args:
        kind: A dataclass, tuple, mapping, `str`, `int` or `Any`.
        value: As `tomllib` read it.
        source: Name of the file, for messages.
        where: Keys that lead to the value, with dots between them; empty for the whole file.
    """
    if is_dataclass(kind):
        return _read_table(kind, value, source, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{source}: {where} = {value!r} must be a list")
        if any(entry in value[:number] for number, entry in enumerate(value)):
            raise InputError(f"{source}: {where} = {value!r} holds the same entry twice")
        return tuple(_read(get_args(kind)[0], entry, source, where) for entry in value)
    if get_origin(kind) is Mapping:
        if not isinstance(value, dict):
            raise InputError(f"{source}: {where} = {value!r} must be a table")
        return {key: _read(get_args(kind)[1], part, source, f"{where}.{key}") for key, part in value.items()}
    if kind is not Any and (not isinstance(value, kind) or isinstance(value, bool)):
        words = {str: "a string", int: "a whole number"}[kind]
        raise InputError(f"{source}: {where} = {value!r} must be {words}")
    return value


def _read_table(cls: Any, table: Any, source: str, where: str) -> Any:
    if not isinstance(table, dict):
        raise InputError(f"{source}: {where} = {table!r} must be a table")
    kinds, prefix = get_type_hints(cls), f"{where}." if where else ""
    for key in table:
        if key not in kinds:
            raise InputError(f"{source}: unknown key '{prefix}{key}'.{suggest(key, list(kinds))}")
    for item in fields(cls):
        if item.default is MISSING and item.default_factory is MISSING and not table.get(item.name):
            raise InputError(f"{source}: '{prefix}{item.name}' is missing or empty")
    return cls(**{key: _read(kinds[key], value, source, f"{prefix}{key}") for key, value in table.items()})


def _anchor(spec: Any, key: str, base: Path | None) -> Any:
    """A path of a configuration file counts from the file's folder, wherever the command is started."""
    value = getattr(spec, key)
    if base is None or not value or Path(value).is_absolute() or (key == "pretrained" and not _is_file_name(value)):
        return spec
    return replace(spec, **{key: str(base / value)})


def _is_file_name(pretrained: str) -> bool:
    return Path(pretrained).suffix in {".safetensors", ".pt", ".bin"}
