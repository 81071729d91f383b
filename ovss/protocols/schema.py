"""What a protocol file may say: every field with its type and range, checked before anything runs."""

from collections.abc import Callable, Mapping
from typing import Any

from ovss.errors import InputError, suggest
from ovss.vocabulary.templates import TEMPLATE_SETS

__all__ = ["DEFAULTS", "LATER"]

_RESIZE_FILTERS = ("opencv-bilinear", "bilinear", "pil-bicubic", "pil-bilinear", "model")
_SIZE_RULES = ("round", "cut")
_WINDOW_REMAINDERS = ("stretch", "pad")
_WINDOWS = ("apart", "shared")
_PAMR_GUIDES = ("input", "original")
_BACKGROUND_RULES = ("none", "threshold", "channel", "queries")
_READINGS = ("softmax", "sigmoid")
_LPOSS_FEATURES = ("keys", "companion")
_PRESENCE = ("none", "crops")
_METRICS = ("standard", "cliptrase")
POSITION_RULES = ("scale", "antialias", "size")
"""Those of `ovss.backbone`, stated again because importing the backbone takes seconds; a test compares them."""

_Convert = Callable[[Any], Any]
"""Returns the canonical value, or raises ValueError whose text completes "must be ..."."""


def _number(low: float, high: float, says: str, *, whole: bool = False) -> _Convert:
    """Numbers in (low, high]; whole ones become int so that 336 and 336.0 are one protocol."""

    def convert(value: Any) -> int | float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low < value <= high
        if not fits or (whole and value != int(value)):
            raise ValueError(says)
        return int(value) if value == int(value) else float(value)

    return convert


def _optional(convert: _Convert, none: str = "none") -> _Convert:
    """TOML has no null, so a word stands for it."""

    def either(value: Any) -> Any:
        if value is None or value == none:
            return None
        try:
            return convert(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{none}"') from None

    return either


def _choice(options: tuple[str, ...]) -> _Convert:
    def convert(value: Any) -> str:
        if value not in options:
            raise ValueError(f"one of {', '.join(options)}")
        return value

    return convert


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a name")
    return value


def _templates(value: Any) -> tuple[str, ...]:
    """Sentences; the name of a set, alone or in a list, stands for the sentences of that set."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(text, str) for text in listed):
        raise ValueError(_TEMPLATES)
    sentences = tuple(text for entry in listed for text in TEMPLATE_SETS.get(entry, (entry,)))
    if any(text.count("{}") != 1 for text in sentences):
        raise ValueError(_TEMPLATES)
    return sentences


def _methods(value: Any) -> dict[str, dict[str, Any]]:
    """Parameters by method; whether a method has them is checked where methods are known."""
    says = "a table for each method, such as resclip = { lam = 0.3 }"
    if not isinstance(value, Mapping) or not all(isinstance(table, Mapping) for table in value.values()):
        raise ValueError(says)
    if any(isinstance(entry, Mapping) for table in value.values() for entry in table.values()):
        raise ValueError(says)
    return {name: dict(table) for name, table in value.items() if table}


_TEMPLATES = '"openai" or a list of sentences, each with one {} where the class name goes'


def _dilations(value: Any) -> tuple[int, ...]:
    whole = isinstance(value, list | tuple) and all(type(step) is int and step > 0 for step in value)
    if not whole:
        raise ValueError("a list of whole numbers of pixels above 0")
    return tuple(value)


_PIXELS = _number(0, 100_000, "a whole number of pixels above 0", whole=True)
_LENGTH = _number(0, 100_000, "a number above 0")
_SHARE = _number(0, 1, "a number above 0 and at most 1")

FIELDS: dict[str, _Convert] = {
    "short_side": _LENGTH,
    "max_long_side": _optional(_PIXELS),
    "crop": _optional(_PIXELS),
    "resize_filter": _choice(_RESIZE_FILTERS),
    "size_rule": _choice(_SIZE_RULES),
    "window": _optional(_LENGTH),
    "stride": _optional(_LENGTH),
    "window_remainder": _choice(_WINDOW_REMAINDERS),
    "windows": _choice(_WINDOWS),
    "relative": _switch,
    "templates": _templates,
    "variant": _word,
    "logit_scale": _optional(_number(0, 10_000, "a number above 0"), none="model"),
    "reading": _choice(_READINGS),
    "position": _choice(POSITION_RULES),
    "background": _choice(_BACKGROUND_RULES),
    "threshold": _optional(_SHARE),
    "area_rule": _optional(_SHARE),
    "pamr_iterations": _number(-1, 1000, "a whole number from 0 to 1000", whole=True),
    "pamr_dilations": _dilations,
    "pamr_guide": _choice(_PAMR_GUIDES),
    "pamr_cells": _optional(_number(0, 64, "a whole number of cells above 0", whole=True)),
    "tlp_iterations": _number(-1, 1000, "a whole number from 0 to 1000", whole=True),
    "tlp_grid": _optional(_number(0, 10_000, "a whole number of cells above 0", whole=True)),
    "lposs_iterations": _number(-1, 1000, "a whole number from 0 to 1000", whole=True),
    "lposs_neighbours": _optional(_number(0, 100_000, "a whole number of patches above 0", whole=True)),
    "lposs_features": _choice(_LPOSS_FEATURES),
    "class_prior": _switch,
    "presence": _choice(_PRESENCE),
    "methods": _methods,
    "metric": _choice(_METRICS),
}
DEFAULTS: dict[str, Any] = {
    "max_long_side": None,
    "crop": None,
    "size_rule": "round",
    "window": None,
    "stride": None,
    "window_remainder": "stretch",
    "windows": "apart",
    "relative": False,
    "reading": "softmax",
    "position": "scale",
    "background": "none",
    "threshold": None,
    "area_rule": None,
    "pamr_iterations": 0,
    "pamr_dilations": (),
    "pamr_guide": "input",
    "pamr_cells": None,
    "tlp_iterations": 0,
    "tlp_grid": None,
    "lposs_iterations": 0,
    "lposs_neighbours": None,
    "lposs_features": "keys",
    "class_prior": False,
    "presence": "none",
    "methods": {},
    "metric": "standard",
}
"""What a file need not say: each is the absence of something, none is a tuned number."""
LATER = (
    "pamr_cells",
    "tlp_iterations",
    "tlp_grid",
    "windows",
    "lposs_iterations",
    "lposs_neighbours",
    "lposs_features",
    "reading",
    "presence",
)
"""Fields that came after the first records: left out of a protocol's hash while they say nothing, so that it stays."""
REQUIRED = tuple(key for key in FIELDS if key not in DEFAULTS)


def check_fields(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Canonical values of some fields.

    Args:
        values: Field names and values as a file or a caller gave them.
        where: What to name in the error: file and table, or call.

    Raises:
        InputError: An unknown key, a wrong type or a value out of range.
    """
    result = {}
    for key, value in values.items():
        if key not in FIELDS:
            raise InputError(f"{where}: unknown key '{key}'.{suggest(key, FIELDS)}")
        try:
            result[key] = FIELDS[key](value)
        except ValueError as error:
            raise InputError(f"{where}: {key} = {value!r} must be {error}") from None
    return result


def check_together(values: Mapping[str, Any], where: str) -> None:
    """Refuse fields that are fine one by one but contradict each other.

    Raises:
        InputError: Naming the fields and what would be right.
    """
    window, stride, short, long = (values[key] for key in ("window", "stride", "short_side", "max_long_side"))
    if (window is None) != (stride is None):
        raise InputError(f'{where}: window and stride must both be numbers or both be "none" (whole image)')
    if window is not None and stride > window:
        raise InputError(f"{where}: stride = {stride} must be at most window = {window}, or pixels go unseen")
    if not values["relative"]:
        for key in ("short_side", "window", "stride"):
            if isinstance(values[key], float):
                raise InputError(f"{where}: {key} = {values[key]} must be whole pixels, or relative = true")
        if long is not None and long < short:
            raise InputError(f"{where}: max_long_side = {long} must be at least short_side = {short}")
        if values["crop"] is not None and values["crop"] > short:
            raise InputError(f"{where}: crop = {values['crop']} must be at most short_side = {short}")
    elif values["crop"] is not None:
        raise InputError(f"{where}: crop = {values['crop']} goes with pixel sizes only; set relative = false")
    if values["background"] in ("threshold", "channel") and values["threshold"] is None:
        raise InputError(f"{where}: background = '{values['background']}' needs a threshold between 0 and 1")
    if values["pamr_iterations"] and not values["pamr_dilations"]:
        raise InputError(f"{where}: pamr_iterations = {values['pamr_iterations']} needs pamr_dilations")
    for steps, needed in (("tlp_iterations", "tlp_grid"), ("lposs_iterations", "lposs_neighbours")):
        if values[steps] and values[needed] is None:
            raise InputError(f"{where}: {steps} = {values[steps]} needs {needed}")
    if values["lposs_features"] == "companion" and not values["lposs_iterations"]:
        raise InputError(f'{where}: lposs_features = "companion" needs lposs_iterations above 0')
    if values["reading"] == "sigmoid" and values["logit_scale"] is not None:
        raise InputError(f'{where}: reading = "sigmoid" needs logit_scale = "model", whose scale and bias go together')
