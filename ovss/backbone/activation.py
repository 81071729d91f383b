"""Which activation the blocks of a model were trained with: GELU, or the QuickGELU of OpenAI's code."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import open_clip

from ovss.backbone.checkpoints import OPENAI_EXTRAS
from ovss.errors import InputError, suggest

__all__ = ["ACTIVATIONS", "choose_activation"]

ACTIVATIONS = ("gelu", "quickgelu")


def choose_activation(
    architecture: str,
    settings: Mapping[str, Any],
    file: Path | None,
    entries: Container[str] | None,
    given: str | None,
) -> tuple[str, bool | None]:
    """The activation as in training: known for a tag, marked in OpenAI's own files, else as the user says.

    Args:
        architecture: Its name in open_clip.
        settings: What open_clip knows of the tag; empty without one.
        file: The checkpoint file; None for random weights and for those still to be downloaded.
        entries: Names of its entries.
        given: "gelu", "quickgelu", or None for what can be found out.

    Returns:
        Architecture to create, and whether its activation is QuickGELU; None leaves it to the architecture.

    Raises:
        InputError: Weights of either kind are in use for the architecture and nothing says which these are; or
            something is given that is known already.
    """
    if given is not None and given not in ACTIVATIONS:
        raise InputError(f"activation '{given}' is unknown.{suggest(given, ACTIVATIONS)}")
    base = architecture.removesuffix("-quickgelu")
    if given is not None and (settings or file is None):
        raise InputError(f"activation='{given}' goes with a checkpoint file without a tag; leave it out")
    if settings:
        return base, bool(settings.get("quick_gelu", False))
    if file is None:
        return architecture, None
    marked = entries is not None and all(name in entries for name in OPENAI_EXTRAS)
    if given is not None:
        if marked and given == "gelu":
            raise InputError(
                f"checkpoint file '{file}' is OpenAI's, trained with QuickGELU; leave out activation='gelu'"
            )
        return base, given == "quickgelu"
    if marked:
        return architecture, True
    if architecture == base and _is_undecided(architecture):
        raise InputError(
            f"checkpoint file '{file}' does not say whether {architecture} was trained with GELU (LAION, DataComp) or "
            "QuickGELU (OpenAI, MetaCLIP, DFN); give activation 'gelu' or 'quickgelu', or the tag: 'TAG=FILE'"
        )
    return architecture, None


def _is_undecided(architecture: str) -> bool:
    """Whether weights with QuickGELU are in use for an architecture whose configuration does not ask for it."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return "quick_gelu" not in (open_clip.get_model_config(architecture) or {}) and any(
        open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu") for tag in tags
    )
