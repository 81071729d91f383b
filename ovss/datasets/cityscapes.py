"""Cityscapes with its fine annotations."""

from pathlib import Path

from ovss.datasets.base import CODES, FileDataset, Pair, class_names, find, found_in, label_table, read_index_png
from ovss.errors import InputError

LAST_ID = 33


def open_cityscapes(name: str, root: Path, split: str) -> FileDataset:
    """`cityscapes`: 19 of the ids 0..33, the others ignored.

    Args:
        name: "cityscapes".
        root: Holds `leftImg8bit` and `gtFine`.
        split: "val" or "train".
    """
    images = find(root, "pictures of Cityscapes", f"leftImg8bit/{split}")
    masks = find(root, "masks of Cityscapes", f"gtFine/{split}")
    files = sorted(images.glob("*/*_leftImg8bit.png"))
    if not files:
        raise InputError(f"pictures of Cityscapes expected as '{images}/CITY/*_leftImg8bit.png'; {found_in(images)}")
    ids = [path.name.removesuffix("_leftImg8bit.png") for path in files]
    # The id -1 (licence plate) is 255 in the 8-bit files.
    ignored = dict.fromkeys((*range(LAST_ID + 1), 255), 255)
    return FileDataset(
        name=name,
        split=split,
        classes=class_names(name),
        background=None,
        void=255,
        vocabulary_name=name,
        pairs=tuple(
            Pair(id_, file, masks / file.parent.name / f"{id_}_gtFine_labelIds.png")
            for id_, file in zip(ids, files, strict=True)
        ),
        decode=read_index_png,
        table=label_table(256, ignored | {code: label for label, code in enumerate(CODES["cityscapes_ids"])}),
    )
