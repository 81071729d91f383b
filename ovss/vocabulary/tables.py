"""Class lists of the benchmarks as they circulate: one file per data set, one table per variant.

A table holds `classes` (a name, or a list of synonyms of which the first is the name) and, where the data set has a
background class, `background`: the words of class 0, none for protocols that give it a constant score. `same_as`
points to another variant.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ovss.errors import InputError, suggest
from ovss.scenes.captions import SYNONYMS
from ovss.scenes.objects import THINGS
from ovss.scenes.scenes import VARIANTS as GENERATED
from ovss.scenes.textures import STUFF

FOLDER = Path(__file__).parent
VARIANTS = ("sclip", "proxyclip", "clearclip", "cliptrase", "plain", "tcl")


def list_vocabularies() -> list[str]:
    """Names of the data sets that have class lists, sorted."""
    return sorted([*(path.stem for path in FOLDER.glob("*.toml")), *GENERATED])


def list_variants(dataset: str) -> list[str]:
    """Variants of a data set's class list."""
    return list(_tables(dataset)["variants"])


def describe_vocabulary(dataset: str) -> str:
    """One line on a data set's classes."""
    return _tables(dataset)["description"]


def read_table(dataset: str, variant: str) -> dict[str, Any]:
    """The table of one variant, `same_as` followed: `classes`, perhaps `background`, `note`.

    Raises:
        InputError: Unknown data set or variant.
    """
    variants = _tables(dataset)["variants"]
    if variant not in variants:
        hint = suggest(variant, variants)
        raise InputError(f"data set '{dataset}' has no vocabulary variant '{variant}'.{hint}")
    table = variants[variant]
    return read_table(dataset, table["same_as"]) if "same_as" in table else table


@lru_cache
def _tables(dataset: str) -> dict[str, Any]:
    if dataset in GENERATED:
        return _generated(dataset)
    path = FOLDER / f"{dataset}.toml"
    if dataset not in list_vocabularies():
        hint = suggest(dataset, list_vocabularies())
        raise InputError(f"there is no vocabulary for data set '{dataset}'.{hint}")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _generated(dataset: str) -> dict[str, Any]:
    """The embedded data set: the same words whatever the variant is called, without synonyms in "plain" and "tcl"."""

    def words(names: tuple[str, ...], synonyms: bool) -> list[list[str]]:
        return [[name, *(SYNONYMS.get(name, ()) if synonyms else ())] for name in names]

    variants: dict[str, Any] = {}
    for variant in VARIANTS:
        synonyms = variant not in ("plain", "tcl")
        note = "the generator's names" + (" with their synonyms" if synonyms else "")
        if GENERATED[dataset].things_only:
            background = [word for name in words(STUFF, synonyms) for word in name]
            table = {"background": [] if variant == "tcl" else background, "classes": words(THINGS, synonyms)}
        else:
            table = {"classes": words(THINGS + STUFF, synonyms)}
        variants[variant] = {"note": note, **table}
    return {"description": f"generated pictures ('{dataset}')", "variants": variants}
