"""From a configuration to tasks: which notebook runs with which parameters, after which others."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import nbformat
from papermill import inspect_notebook

from ovss.errors import InputError, suggest
from ovss.files import digest, file_digest
from ovss.lab.outputs import slug
from ovss.provenance import code_hash, library_versions
from ovss.provenance.sources import modules_used
from ovss.study.config import DatasetSpec, ModelSpec, NotebookSpec, StudyConfig
from ovss.study.places import find_notebooks, named

__all__ = ["find_templates", "plan_study"]

_RUNNER = "ovss.study.execute"
"""What runs a notebook and writes its outputs."""


@dataclass(frozen=True)
class Task:
    """One notebook with one set of parameters.

    Attributes:
        id: Unique name, also the name of its folder and of the executed notebook.
        template: Notebook file.
        parameters: What papermill passes to it.
        model: Model, where the notebook declares one.
        dataset: Data set, likewise.
        after: Tasks whose outputs it reads.
        exclusive: Nothing else may run meanwhile, because it measures time.
    """

    id: str
    template: Path
    parameters: dict[str, Any]
    model: ModelSpec | None = None
    dataset: DatasetSpec | None = None
    after: tuple["Task", ...] = field(default=(), repr=False)
    exclusive: bool = False

    @property
    def stem(self) -> str:
        """Name of the template without suffix."""
        return self.template.stem

    @cached_property
    def digest(self) -> str:
        """Digest of everything that the task's outputs depend on."""
        pretrained = self.model.pretrained if self.model else ""
        inputs = {
            "cells": [(cell.cell_type, cell.source) for cell in nbformat.read(self.template, as_version=4).cells],
            "parameters": self.parameters,
            "code": code_hash(*notebook_sources(self.template)),
            "versions": library_versions(shown=True),
            "weights": file_digest(pretrained) if pretrained and Path(pretrained).is_file() else pretrained,
            "data": _fingerprint(self.dataset) if self.dataset else "",
            "upstream": {task.id: task.digest for task in self.after},
        }
        return digest(inputs)


@dataclass(frozen=True)
class Template:
    """A study notebook as its file describes it.

    Attributes:
        path: Notebook file.
        declared: Parameters with their default as source text and their help.
        after: Beginnings of the names of templates that run first, from the notebook's metadata `ovss.after`.
        exclusive: Metadata `ovss.exclusive`.
    """

    path: Path
    declared: dict[str, dict[str, str]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    exclusive: bool = False


def find_templates(folder: Path | None = None) -> list[Template]:
    """Study notebooks (names that start with 2 and another digit), in order.

    Args:
        folder: Where they are; None looks in `./notebooks`, then takes those that came with the package.

    Raises:
        InputError: There are none, or one has no cell tagged `parameters`.
    """
    return [_read_template(path) for path in find_notebooks(folder)]


def _read_template(path: Path) -> Template:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is not a valid notebook: {error}") from error
    declared = inspect_notebook(str(path))
    if not declared:
        raise InputError(f"{path} has no cell tagged 'parameters' with annotated values")
    about = notebook.metadata.get("ovss", {})
    return Template(path, declared, tuple(about.get("after", ())), bool(about.get("exclusive", False)))


def plan_study(config: StudyConfig, templates: Sequence[Template], only: Sequence[str] = ()) -> list[Task]:
    """All tasks of a study, those that others read first.

    A template runs once for each combination of the axes that it declares as parameters: `model`, `dataset`,
    `protocol`, `seed`.

    Args:
        config: The study.
        templates: From `find_templates`.
        only: Beginnings of template names, such as "22"; what they read from is added. Empty takes those of the
            configuration.

    Raises:
        InputError: A name that matches no template, a parameter that the notebook does not declare, an empty selection.
    """
    chosen = _choose(config, templates, only)
    tasks: list[Task] = []
    for template in templates:
        if template in chosen:
            tasks += _expand(config, template, tasks)
    _check_notebooks(config, templates)
    if not tasks:
        raise InputError(f"configuration '{config.name}': the filters of [notebooks] leave nothing to run")
    return tasks


def _choose(config: StudyConfig, templates: Sequence[Template], only: Sequence[str]) -> list[Template]:
    chosen = [template for template in templates if not (only or config.templates)]
    for prefix in only or config.templates:
        stems = named(prefix, [template.path.stem for template in templates])
        chosen += [template for template in templates if template.path.stem in stems]
    pending = list(chosen)
    while pending:
        for prefix in pending.pop().after:
            for template in templates:
                if template.path.stem.startswith(prefix) and template not in chosen:
                    chosen.append(template)
                    pending.append(template)
    return chosen


def _expand(config: StudyConfig, template: Template, earlier: Sequence[Task]) -> list[Task]:
    stem, declared = template.path.stem, template.declared
    settings = config.notebooks.get(stem, NotebookSpec())
    models = [spec for spec in config.models if not settings.models or spec.label in settings.models]
    datasets = [spec for spec in config.datasets if not settings.datasets or spec.name in settings.datasets]
    protocols = [name for name in config.protocols if not settings.protocols or name in settings.protocols]
    axes: list[Sequence[Any]] = [
        models if "model" in declared else [None],
        datasets if "dataset" in declared else [None],
        protocols if "protocol" in declared else [None],
        config.seeds if "seed" in declared else [None],
    ]
    after = tuple(task for task in earlier if any(task.stem.startswith(prefix) for prefix in template.after))
    tasks = []
    for model, dataset, protocol, seed in itertools.product(*axes):
        words = [model and model.label, dataset and dataset.name, protocol, None if seed is None else f"seed{seed}"]
        varying = [slug(str(word)) for word, axis in zip(words, axes, strict=True) if len(axis) > 1]
        offered: dict[str, Any] = {"out": ".", "runs": "../runs", "results": [f"../{task.id}/tables" for task in after]}
        offered |= {"methods": list(config.methods), "protocol": protocol, "seed": seed}
        if model:
            offered |= {"model": model.model, "pretrained": model.pretrained}
        if dataset:
            offered |= {"dataset": dataset.name, "split": dataset.split, "root": dataset.root, "limit": dataset.limit}
        parameters = {name: value for name, value in offered.items() if name in declared and value is not None}
        task_id = "--".join([stem, *varying])
        _check_parameters(settings.parameters, template, f"configuration '{config.name}'")
        parameters |= settings.parameters
        tasks.append(Task(task_id, template.path, parameters, model, dataset, after, template.exclusive))
    return tasks


def _check_parameters(given: Any, template: Template, source: str) -> None:
    """Refuse parameters that a notebook does not declare, which papermill would only warn of.

    Raises:
        InputError: Naming the parameter and the near ones.
    """
    for name in given:
        if name not in template.declared:
            hint = suggest(name, template.declared)
            raise InputError(f"{source}: notebook {template.path.stem} has no parameter '{name}'.{hint}")


def _check_notebooks(config: StudyConfig, templates: Sequence[Template]) -> None:
    stems = [template.path.stem for template in templates]
    labels = {"models": [spec.label for spec in config.models], "datasets": [spec.name for spec in config.datasets]}
    labels["protocols"] = list(config.protocols)
    for name, settings in config.notebooks.items():
        if name not in stems:
            raise InputError(f"configuration '{config.name}': no notebook '{name}'.{suggest(name, stems)}")
        for axis, known in labels.items():
            for entry in getattr(settings, axis):
                if entry not in known:
                    raise InputError(
                        f"configuration '{config.name}': notebooks.{name}.{axis} names '{entry}', "
                        f"which the study does not have.{suggest(entry, known)}"
                    )


def heading(template: Path) -> str:
    """First heading of a notebook, or its file name."""
    for cell in nbformat.read(template, as_version=4).cells:
        match = re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if match:
            return match.group(1).strip()
    return template.stem


def notebook_sources(template: Path) -> list[str]:
    """Modules of this package that a notebook's code cells import, and the one that runs it."""
    cells = [cell.source for cell in nbformat.read(template, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for line in "\n".join(cells).splitlines() if not line.startswith(("%", "!"))]
    try:
        return [*modules_used("\n".join(lines)), _RUNNER]
    except SyntaxError as error:
        raise InputError(f"{template}: a code cell is not Python: {error.msg}") from error


@cache
def _fingerprint(spec: DatasetSpec) -> str:
    """Fingerprint of a data set; for one that is not there, the reason."""
    from ovss.datasets import load_dataset

    try:
        return load_dataset(spec.name, root=spec.root or None, split=spec.split).fingerprint
    except InputError as error:
        return f"not there: {error}"
