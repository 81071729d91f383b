"""`ovss list models [NAME]`: which models of open_clip can be read, or why not, and with which weights.

Read from the tables of `ovss/backbone` without importing it, since that imports torch; tests hold the tables to
open_clip.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ovss.cli.common import described, show
from ovss.errors import InputError, suggest
from ovss.files.tables import text_table

__all__ = ["Model", "Weights", "add_command", "known_models", "own_filter"]

_HOME = Path(__file__).parents[1] / "backbone"
_TINY = "tiny: the embedded demonstration model, trained on drawn scenes; it needs no weights (patch 8, 64 pixels)"
_ALL = "'ovss list models' shows all"
_USUAL_FILTER = "pil-bicubic"
_SHOWN = 3
"""Tags of a model in the list of all."""


@dataclass(frozen=True)
class Weights:
    """Published weights of a model.

    Attributes:
        tag: Their name in open_clip.
        data: What they were trained on.
        activation: "GELU" or "QuickGELU".
        resize_filter: How their own transform resizes images, as protocols name it.
        repositories: Where the hub has them; any of these can be given as the model.
    """

    tag: str
    data: str
    activation: str
    resize_filter: str
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A configuration of open_clip.

    Attributes:
        name: Its name.
        facts: Its row of `models.csv`, whose numbers are those of the image tower.
        weights: Its published weights.
    """

    name: str
    facts: Mapping[str, str]
    weights: tuple[Weights, ...]

    @property
    def refused(self) -> str:
        """Why it cannot be read; empty where it can."""
        return self.facts["refused"]

    @property
    def size(self) -> str:
        """Native size in pixels."""
        height, width = self.facts["height"], self.facts["width"]
        return height if height == width else f"{height}x{width}"

    @property
    def parameters(self) -> str:
        """Parameters of the image tower."""
        return f"{int(self.facts['parameters']) / 1e6:.0f} M"

    @property
    def pooling(self) -> str:
        """What the image embedding is read from, and whether there is a class token besides."""
        pooling, token = self.facts["pooling"], self.facts["class_token"] == "yes"
        return pooling if pooling == "class token" or not token else f"{pooling}, has class token"

    @property
    def resize_filter(self) -> str:
        """How its own transform resizes images, as protocols name it; open_clip's usual one without weights."""
        return " or ".join(dict.fromkeys(item.resize_filter for item in self.weights)) or _USUAL_FILTER


def add_command(commands: Any) -> None:
    """Add `models`."""
    parser = commands.add_parser("models", **described("list the models of open_clip, or one model and its weights"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model or a repository of the hub")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the list, or one model; returns 0."""
    if arguments.name == "tiny":
        show(_TINY)
    else:
        show(overview() if arguments.name is None else details(arguments.name))
    return 0


@cache
def known_models() -> dict[str, Model]:
    """Every configuration of open_clip by name, in its order."""
    published: dict[str, list[Weights]] = {}
    for row in _read("weights.csv"):
        texts = {key: row[key] for key in ("tag", "data", "activation", "resize_filter")}
        found = Weights(**texts, repositories=tuple(row["repositories"].split()))
        published.setdefault(row["model"], []).append(found)
    rows = {row["model"]: row for row in _read("models.csv")}
    return {
        name: Model(name, facts, tuple(published.get(name, published.get(name.removesuffix("-quickgelu"), ()))))
        for name, facts in rows.items()
    }


def _read(name: str) -> list[dict[str, str]]:
    with (_HOME / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def overview() -> str:
    """A table of the models that are taken, then the others with the reason."""
    rows = [
        ("model", "family", "patch", "pixels", "blocks", "parameters", "image embedding from", "own filter", "weights")
    ]
    models = known_models().values()
    taken = [model for model in models if not model.refused]
    for model in taken:
        facts = model.facts
        numbers = (facts["patch"], model.size, facts["depth"], model.parameters)
        rows.append((model.name, facts["family"], *numbers, model.pooling, model.resize_filter, _tags(model.weights)))
    refused = [f"{model.name} {model.refused}" for model in models if model.refused]
    head = f"{len(taken)} of {len(models)} models of open_clip are taken; parameters are those of the image tower."
    return "\n".join([head, "", text_table(rows), "", _TINY, "", "Not taken:", *refused])


def details(name: str) -> str:
    """What is known of a model, and its weights.

    Args:
        name: Of open_clip, or a repository of the hub that holds its weights.

    Raises:
        InputError: There is no such model.
    """
    model, tag = _find(name)
    lines = [f"{model.name}: {model.refused}" if model.refused else _describe(model)]
    if model.weights:
        rows = [("tag", "trained on", "activation", "own filter", "repositories")]
        for item in model.weights:
            rows.append((item.tag, item.data, item.activation, item.resize_filter, ", ".join(item.repositories)))
        lines += ["", text_table(rows)]
    else:
        lines += ["", "No weights are published; give a checkpoint file."]
    if not model.refused:
        weights = tag or (model.weights[0].tag if model.weights else "FILE")
        lines += ["", f"--model {model.name} --pretrained {weights}", f"--model {model.name} --pretrained random"]
    return "\n".join(lines)


def _describe(model: Model) -> str:
    facts = model.facts
    lines = [
        f"{model.name}: taken, {facts['family']}",
        f"patch {facts['patch']}, {model.size} pixels, {facts['depth']} blocks, {model.parameters} parameters (image "
        f"tower), image embedding from {model.pooling}",
    ]
    lines.append(f'resized by {model.resize_filter} under protocols with resize_filter = "model"')
    if facts["pooled"]:
        checked = "" if facts["blocks_checked"] == facts["depth"] else f" (first {facts['blocks_checked']} blocks)"
        lines.append(
            f"agreement with open_clip, random weights{checked}: pooled {facts['pooled']}, one-hot {facts['one_hot']}"
        )
    return "\n".join(lines)


def own_filter(name: str) -> str:
    """How the own transform of a model resizes images, as protocols name it; empty for a model that is not listed."""
    if name == "tiny":
        return _USUAL_FILTER
    try:
        return _find(name)[0].resize_filter
    except InputError:
        return ""


def _tags(weights: Sequence[Weights]) -> str:
    more = f", {len(weights) - _SHOWN} more" if len(weights) > _SHOWN else ""
    return ", ".join(item.tag for item in weights[:_SHOWN]) + more or "none published"


def _find(name: str) -> tuple[Model, str]:
    """The model of a name, and the tag where a repository stands for it."""
    models = known_models()
    if name.replace("/", "-") in models:
        return models[name.replace("/", "-")], ""
    wanted = name.removeprefix("hf-hub:").strip("/").lower()
    repositories = {
        title: (model, item.tag)
        for model in models.values()
        if not model.name.endswith("-quickgelu")
        for item in model.weights
        for title in item.repositories
    }
    for title, found in repositories.items():
        if title.lower() == wanted:
            return found
    options = repositories if "/" in wanted else ["tiny", *models]
    raise InputError(f"model '{name}' is unknown.{suggest(name, options, _ALL)}")
