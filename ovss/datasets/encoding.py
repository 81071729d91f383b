"""Which encoding do COCO masks of the plain name hold? Their values over the data set say.

COCO's codes 0..181 leave eleven numbers out; train ids number the 171 classes without gaps, 0..170. So a number that
COCO leaves out speaks for train ids, one above 170 for codes, and everything else means two different classes. Object
masks (0 background, 1..80) have no number above 80, which images with stuff always have.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovss.datasets.base import CODES
from ovss.datasets.contents import UNREADABLE, remembered
from ovss.datasets.masks import read_index_png
from ovss.errors import InputError

ENCODINGS = ("codes", "train-ids", "object-ids")
_UNUSED = tuple(CODES["coco_unused"])
_SAMPLE = 500
"""Masks that are looked at, evenly spread: about a second, once."""
_FEWER = 100
"""Evidence for one encoding that is this many times rarer than the other's is damage, not doubt."""
_ALIKE = min(_UNUSED)
"""Below the first gap codes and train ids are the same."""


def plain_encoding(paths: Sequence[Path]) -> str:
    """Encoding of the masks that have the plain names, "codes" or "train-ids".

    Args:
        paths: All masks of the data set; those that cannot be read say nothing.

    Raises:
        InputError: Their values fit both, none, or object masks; the message names the evidence.
    """
    chosen = [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, _SAMPLE).round().astype(int))]
    facts = remembered("coco-values-1", chosen, _values)
    seen = [(path, set(values)) for path, values in zip(chosen, facts, strict=True) if values != UNREADABLE]
    as_codes = [path for path, values in seen if any(170 < value < 182 for value in values)]
    as_train_ids = [path for path, values in seen if not values.isdisjoint(_UNUSED)]
    stuff = any(80 < value < 182 for _, values in seen for value in values)
    matters = any(_ALIKE <= value < 182 for _, values in seen for value in values)
    if not matters or len(as_codes) > _FEWER * len(as_train_ids):
        return "codes"
    if stuff and len(as_train_ids) > 1 and len(as_train_ids) > _FEWER * len(as_codes):
        return "train-ids"
    raise InputError(_doubt(len(seen), as_codes, as_train_ids, stuff))


def _values(path: Path) -> list[int]:
    return np.flatnonzero(np.bincount(read_index_png(path).ravel().clip(0, 256))).tolist()


def _doubt(looked_at: int, as_codes: Sequence[Path], as_train_ids: Sequence[Path], stuff: bool) -> str:
    evidence = []
    if as_train_ids:
        path = as_train_ids[0]
        codes = read_index_png(path)
        odd = np.isin(codes, _UNUSED)
        row, column = np.argwhere(odd)[0]
        evidence.append(
            f"mask '{path}' holds {int(odd.sum())} pixels whose label is not in the list of COCO's codes, the first at "
            f"row {row}, column {column}: {codes[row, column]}, as train ids do ({len(as_train_ids)} such masks)"
        )
    if as_codes:
        evidence.append(f"mask '{as_codes[0]}' holds labels above 170, as codes do ({len(as_codes)} such masks)")
    if not evidence:
        evidence.append("no mask holds a label that only one of them has")
    if not stuff:
        evidence.append("no label is above 80, as in object masks (0 background, 1..80)")
    return (
        f"COCO masks may hold codes (0..181) or train ids (0..170): of {looked_at} masks looked at, "
        f"{'; '.join(evidence)}. Rename train ids to *_labelTrainIds.png, object masks to *_instanceTrainIds.png, or "
        f"say encoding='codes' (--encoding; {', '.join(ENCODINGS)})"
    )
