"""Class lists of the benchmarks as they circulate: one file per data set, one table per variant.

A table holds `classes` (a name, or a list of synonyms of which the first is the name) and, where the data set has a
background class, `background`: the words of class 0, an empty list for protocols that give it a constant score.
`same_as` points to another variant; `lists_of` at the top to another data set, all of whose lists are taken over.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ovss.errors import InputError, suggest

__all__ = ["describe_vocabulary", "list_variants", "list_vocabularies", "read_table"]

_FOLDER = Path(__file__).parent


def list_vocabularies() -> list[str]:
    """Names of the data sets that have class lists, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def list_variants(dataset: str) -> list[str]:
    """Variants of a data set's class list."""
    return list(_tables(dataset)["variants"])


def describe_vocabulary(dataset: str) -> str:
    """One line on a data set's classes."""
    return _tables(dataset)["description"]


def read_table(dataset: str, variant: str) -> dict[str, Any]:
    """The table of one variant, `same_as` followed: `classes`, `note` and optionally `background`.

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
    if dataset not in list_vocabularies():
        hint = suggest(dataset, list_vocabularies())
        raise InputError(f"there is no vocabulary for data set '{dataset}'.{hint}")
    content = tomllib.loads((_FOLDER / f"{dataset}.toml").read_text(encoding="utf-8"))
    return _tables(content["lists_of"]) | content if "lists_of" in content else content
