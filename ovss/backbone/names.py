"""Names of models as people write them: open_clip's own, OpenAI's with a slash, and those of the hub."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import list_pretrained

from ovss import tiny
from ovss.errors import InputError, suggest

__all__ = ["hub_names", "register_tiny", "resolve_name", "weights_file"]

RANDOM = "random"
"""What stands for weights where random ones are wanted."""
_SCHEMES = ("hf-hub:", "local-dir:")
_WORDS = {"B": "base", "L": "large", "SO400M": "so400m", "gopt": "giant-opt"}
"""Sizes in open_clip's names and in those of OpenAI and Google."""
_ALL = "'ovss list models' shows all"
_SUFFIX = "-quickgelu"


def register_tiny() -> str:
    """Make the architecture of the embedded model known to open_clip; calling it again changes nothing.

    Returns:
        The name that open_clip knows it by.
    """
    if tiny.ARCHITECTURE not in open_clip.list_models():
        open_clip.add_model_config(tiny.CONFIGS)
    return tiny.ARCHITECTURE


def resolve_name(model: str, pretrained: str | None = None) -> tuple[str, str | None]:
    """Model and weights by the names that open_clip has for them.

    Args:
        model: "tiny", an architecture ("ViT-B-16", "ViT-B/16"), a repository of the hub with or without "hf-hub:"
            ("laion/...", "google/siglip2-..."), or "local-dir:FOLDER".
        pretrained: As in `ovss.load_backbone`.

    Returns:
        "tiny", an architecture of open_clip, or a name with "hf-hub:" or "local-dir:"; and the weights, which a
        repository that open_clip lists brings along.

    Raises:
        InputError: No such model, or weights that contradict the repository.
    """
    register_tiny()
    if model == "tiny":
        return model, pretrained
    known = _lower_case_hub_names().get(model.removeprefix("hf-hub:").strip("/").lower())
    if known is not None:
        return known[0], _with_tag(model, *known, pretrained)
    if model.startswith(_SCHEMES):
        return model, pretrained
    architecture = model.replace("/", "-")
    if architecture in open_clip.list_models():
        return architecture, pretrained
    if Path(model).is_file():
        raise InputError(f"model '{model}' is a file; give it as pretrained, and its architecture as the model")
    if (Path(model) / "open_clip_config.json").is_file():
        return f"local-dir:{model}", pretrained
    owner, slash, _ = model.partition("/")
    families = {name.rsplit("-", 1)[0].lower() for name in open_clip.list_models()}
    if not slash or owner.lower() in families:
        near = suggest(architecture, ["tiny", *open_clip.list_models()], _ALL)
        raise InputError(f"model '{model}' is unknown.{near}")
    if owner.lower() in _foreign_owners():
        near = suggest(model, hub_names(), _ALL)
        raise InputError(f"model '{model}' is not among those that open_clip can read.{near}")
    return f"hf-hub:{model}", pretrained


@cache
def hub_names() -> dict[str, tuple[str, str]]:
    """Repositories of the hub whose weights open_clip has, with its own name and tag of them.

    Those of open_clip's own list, and the repositories where OpenAI, Google and Meta publish the same weights in
    another format.
    """
    found: dict[str, tuple[str, str]] = {}
    entries = [(name, tag) for name, tag in list_pretrained() if not name.endswith(_SUFFIX)]
    for name, tag in entries:
        repository = "/".join(open_clip.get_pretrained_cfg(name, tag)["hf_hub"].split("/")[:2])
        for title in (repository, _published_as(name, tag)):
            # Some repositories stand in the list for two entries; the one of the same name is meant.
            if title and (title not in found or title.endswith((f"/{name}", f".{tag}"))):
                found[title] = (name, tag)
    return found


def near_repository(place: str) -> str:
    """A sentence with the nearest repository of the same owner, to be appended; empty where the owner has none here."""
    owner = place.partition("/")[0].lower()
    titles = [title for title in hub_names() if title.lower().startswith(f"{owner}/")]
    return f".{suggest(place, titles, _ALL)}" if titles else ""


@cache
def _lower_case_hub_names() -> dict[str, tuple[str, str]]:
    return {title.lower(): known for title, known in hub_names().items()}


def weights_file(settings: Mapping[str, Any]) -> str:
    """Where the file of a tag's weights is to be had, in words; from open_clip's settings of the tag."""
    owner, _, rest = settings.get("hf_hub", "").partition("/")
    repository, _, file = rest.partition("/")
    return f"{file or 'open_clip_model.safetensors'} of {owner}/{repository}" if owner else settings.get("url", "")


def _published_as(name: str, tag: str) -> str:
    """Where the makers of weights publish them in the format of another library; empty where they don't."""
    if tag == "openai" and (parts := re.fullmatch(r"ViT-([BL])-(\d+)(-\d+)?", name)):
        return f"openai/clip-vit-{_WORDS[parts[1]]}-patch{parts[2]}{parts[3] or ''}"
    if parts := re.fullmatch(r"ViT-(\w+)-(\d+)-SigLIP(2?)(-i18n)?(-\d+)?", name):
        size = {"-378": "-384"}.get(parts[5], parts[5] or "-224")  # Google's name does not say that 378 is what is seen
        language = {None: "", "-i18n": "-multilingual" if parts[1] == "B" else "-i18n"}[parts[4]]
        return f"google/siglip{parts[3]}-{_WORDS[parts[1]]}-patch{parts[2]}{size}{language}"
    if parts := re.fullmatch(r"PE-Core-(\w+)-(\d+)(-\d+)?", name):
        return f"facebook/PE-Core-{parts[1].removeprefix('big')}{parts[2]}{parts[3] or '-224'}"
    if tag in ("metaclip_400m", "metaclip_fullcc") and (parts := re.fullmatch(r"ViT-([BLH])-(\d+)", name)):
        data = tag.removeprefix("metaclip_").replace("fullcc", "fullcc2.5b")
        return f"facebook/metaclip-{parts[1].lower()}{parts[2]}-{data}"
    return ""


@cache
def _foreign_owners() -> set[str]:
    """Owners on the hub whose repositories are in the format of another library."""
    listed = {open_clip.get_pretrained_cfg(name, tag)["hf_hub"].split("/")[0] for name, tag in list_pretrained()}
    return {title.split("/")[0] for title in hub_names()} - listed


def _with_tag(model: str, name: str, tag: str, pretrained: str | None) -> str:
    if pretrained is None:
        return tag
    if pretrained in (RANDOM, tag) or pretrained.startswith(f"{tag}="):
        return pretrained
    if "." in pretrained:
        return f"{tag}={pretrained}"
    raise InputError(
        f"model '{model}' is {name} with the weights '{tag}'; leave out pretrained='{pretrained}', or give it with "
        f"the model '{name}'"
    )
