"""COCO-Stuff and COCO-Object, both from COCO 2017 images and the stuffthingmaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovss.datasets.base import CODES, VOID_VARIANT, FileDataset, label_table
from ovss.datasets.encoding import ENCODINGS, plain_encoding
from ovss.datasets.layouts import GUIDES, Reading, best, found_in, homes, not_found
from ovss.datasets.masks import read_index_png
from ovss.errors import InputError

_USED = tuple(code for code in range(182) if code not in CODES["coco_unused"])
"""Codes of the 171 classes in order: 80 things, then 91 stuff classes."""
THINGS = 80
_UNLABELLED = 255
_MASKS = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")
"""Folders that masks lie in: two from the distribution, mmsegmentation's."""
SUFFIXES = {"_instanceTrainIds": "object-ids", "_labelTrainIds": "train-ids"}
"""Endings that converted masks have, the object masks of COCO-Object first."""
_SPANS = {"codes": "codes 0..181", "train-ids": "train ids 0..170", "object-ids": "object ids 0..80"}


@dataclass(frozen=True)
class _Wanted:
    """What is to be read: which classes, and what unlabelled pixels are."""

    objects: bool
    unlabelled: int

    def table(self, encoding: str) -> np.ndarray:
        """Label of each code of an encoding."""
        if encoding == "object-ids":
            return label_table(256, {label: label for label in range(THINGS + 1)})
        numbers = _USED if encoding == "codes" else range(len(_USED))
        labels = {code: self._label(number) for number, code in enumerate(numbers)}
        return label_table(256, labels | {_UNLABELLED: self.unlabelled})

    def _label(self, number: int) -> int:
        if not self.objects:
            return number
        return number + 1 if number < THINGS else 0

    def readable(self, encoding: str) -> bool:
        """Whether an encoding holds what is wanted: object masks have neither stuff nor unlabelled pixels."""
        return encoding != "object-ids" or (self.objects and self.unlabelled == 0)


def open_coco(
    name: str, root: Path, split: str, *, unlabelled: str | None = None, encoding: str | None = None
) -> FileDataset:
    """`coco_stuff171`, or `coco_object`, in which all stuff is background.

    In `coco_object` unlabelled pixels (255) are background, too: every official conversion makes them so, and false
    positives there count. With `unlabelled="void"` they count nowhere, and the data set is called `coco_object-void`.

    Masks are the stuffthingmaps, or what mmsegmentation's converters make of them: `*_labelTrainIds.png`, and
    `*_instanceTrainIds.png` for COCO-Object. Train ids under the plain name are recognised by their values.

    Args:
        name: "coco_stuff171" or "coco_object".
        root: Holds `val2017` or `images/val2017`, and `stuffthingmaps/val2017` or `annotations/val2017`; or a folder
            `coco_stuff164k`, `coco_object` or `coco` that does.
        split: "val" or "train".
        unlabelled: For `coco_object`, "background" (default) or "void".
        encoding: What masks of the plain name hold, where their values leave a doubt: "codes", "train-ids" or
            "object-ids".
    """
    objects = name == "coco_object"
    if unlabelled not in (None, "void", *(("background",) if objects else ())):
        options = "'background' or 'void'" if objects else "'void'"
        raise InputError(f"unlabelled='{unlabelled}' of {name} must be {options}")
    if encoding not in (None, *ENCODINGS):
        raise InputError(f"encoding='{encoding}' must be one of {', '.join(ENCODINGS)}")
    void = unlabelled == "void" or not objects
    wanted = _Wanted(objects, _UNLABELLED if void else 0)
    year = f"{split}2017"
    reading, images = _find(name, root, year, wanted, encoding)
    return reading.dataset(
        name,
        split,
        images,
        name=name + (VOID_VARIANT if void and objects else ""),
        background=0 if objects else None,
        void=_UNLABELLED,
    )


def _find(name: str, root: Path, year: str, wanted: _Wanted, encoding: str | None) -> tuple[Reading, dict[str, Path]]:
    """The best reading under a root, and the images by id."""
    lacking = []
    folder = None
    for base in homes(name, root):
        folders = [base / part for part in (year, f"images/{year}") if (base / part).is_dir()]
        if not folders:
            continue
        folder = folder or folders[0]
        images = {path.stem: path for path in sorted(folders[0].glob("*.jpg"))}
        if not images:
            lacking.append(folders[0])
            continue
        reading = _reading(base, year, tuple(images), wanted, encoding)
        if reading is not None:
            return reading, images
    if folder is None:
        raise not_found(
            name, root, "COCO images", root / year, *(f"{f}/images/{year}" for f in GUIDES[name].folders[:2])
        )
    if lacking and folder == lacking[0]:
        raise InputError(f"COCO images expected as '{folder}/*.jpg'; {found_in(folder)}")
    base = folder.parent.parent if folder.parent.name == "images" else folder.parent
    if wanted.objects and wanted.unlabelled and _object_masks(base, year):
        raise InputError(
            f"'{base}' has only *_instanceTrainIds.png, in which unlabelled pixels are background; "
            f"{name}{VOID_VARIANT} needs the stuffthingmaps or *_labelTrainIds.png"
        )
    raise not_found(name, root, "stuffthingmaps", base / _MASKS[0] / year, *(f"{part}/{year}" for part in _MASKS[1:]))


def _reading(base: Path, year: str, ids: Sequence[str], wanted: _Wanted, encoding: str | None) -> Reading | None:
    """What to read: the original files where they are, else converted ones; None where there are neither."""
    plain = [_at(base / folder / year, "", wanted, "codes", "as distributed") for folder in _MASKS]
    converted = [
        _at(base / folder / year, ending, wanted, held, "mmsegmentation")
        for ending, held in SUFFIXES.items()
        if wanted.readable(held)
        for folder in _MASKS
    ]
    found = best([*plain, *converted], ids)
    if found is None or not any(found is reading for reading in plain):
        return found
    folder = found.path(ids[0]).parent
    held = encoding or plain_encoding([found.path(id_) for id_ in ids])
    if not wanted.readable(held):
        raise InputError(f"masks in '{folder}' hold object ids, which lack what this data set needs")
    return found if held == "codes" else _at(folder, "", wanted, held, "under the plain name")


def _at(folder: Path, ending: str, wanted: _Wanted, encoding: str, source: str) -> Reading:
    return Reading(
        f"{folder.parent.name}/{folder.name}/*{ending}.png, {_SPANS[encoding]} ({source})",
        lambda id_: folder / f"{id_}{ending}.png",
        wanted.table(encoding),
        read_index_png,
    )


def _object_masks(base: Path, year: str) -> bool:
    return any(next((base / folder / year).glob("*_instanceTrainIds.png"), None) for folder in _MASKS)
