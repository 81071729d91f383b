"""COCO-Stuff and COCO-Object, both from COCO 2017 pictures and the stuffthingmaps."""

from pathlib import Path

from ovss.datasets.base import CODES, FileDataset, Pair, class_names, find, found_in, label_table, read_index_png
from ovss.errors import InputError

USED = tuple(code for code in range(182) if code not in CODES["coco_unused"])
"""Codes of the 171 classes in order: 80 things, then 91 stuff classes."""
THINGS = 80


def open_coco(name: str, root: Path, split: str) -> FileDataset:
    """`coco_stuff171`, or `coco_object`, in which all stuff is background.

    Args:
        name: "coco_stuff171" or "coco_object".
        root: Holds `val2017` with the pictures and `stuffthingmaps/val2017` with the masks.
        split: "val" or "train".
    """
    year = f"{split}2017"
    images = find(root, "COCO pictures", year, f"images/{year}")
    masks = find(
        root,
        "stuffthingmaps",
        f"stuffthingmaps/{year}",
        f"stuffthingmaps_trainval2017/{year}",
        f"annotations/{year}",
    )
    ids = sorted(path.stem for path in images.glob("*.jpg"))
    if not ids:
        raise InputError(f"COCO pictures expected as '{images}/*.jpg'; {found_in(images)}")
    if name == "coco_stuff171":
        labels = {code: label for label, code in enumerate(USED)}
    else:
        labels = {code: label + 1 if label < THINGS else 0 for label, code in enumerate(USED)}
    return FileDataset(
        name=name,
        split=split,
        classes=class_names(name),
        background=0 if name == "coco_object" else None,
        void=255,
        vocabulary_name=name,
        pairs=tuple(Pair(id_, images / f"{id_}.jpg", masks / f"{id_}.png") for id_ in ids),
        decode=read_index_png,
        table=label_table(256, labels | {255: 255}),
    )
