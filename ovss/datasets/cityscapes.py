"""Cityscapes with its fine annotations."""

from pathlib import Path

from ovss.datasets.base import CODES, FileDataset, label_table
from ovss.datasets.layouts import Reading, best, found_in, homes, not_found
from ovss.datasets.masks import read_index_png
from ovss.errors import InputError

_LAST_ID = 33


def open_cityscapes(name: str, root: Path, split: str) -> FileDataset:
    """`cityscapes`: 19 of the ids 0..33, the others ignored.

    Read from `*_labelIds.png`, or from `*_labelTrainIds.png` (0..18 and 255), which Cityscapes' own scripts and
    mmsegmentation make from them.

    Args:
        name: "cityscapes".
        root: Holds `leftImg8bit` and `gtFine`, or the folder `cityscapes` that does.
        split: "val" or "train".
    """
    base = next((home for home in homes(name, root) if (home / f"leftImg8bit/{split}").is_dir()), None)
    if base is None:
        raise not_found(name, root, "images of Cityscapes", root / f"leftImg8bit/{split}")
    images = base / f"leftImg8bit/{split}"
    files = sorted(images.glob("*/*_leftImg8bit.png"))
    if not files:
        raise InputError(f"images of Cityscapes expected as '{images}/CITY/*_leftImg8bit.png'; {found_in(images)}")
    by_id = {path.name.removesuffix("_leftImg8bit.png"): path for path in files}
    masks = base / f"gtFine/{split}"
    # The id -1 (licence plate) is 255 in the 8-bit files.
    ignored = dict.fromkeys((*range(_LAST_ID + 1), 255), 255)
    ids = ignored | {code: label for label, code in enumerate(CODES["cityscapes_ids"])}
    train_ids = {label: label for label in range(19)} | {255: 255}
    readings = [
        Reading(
            text,
            lambda id_, ending=ending: masks / by_id[id_].parent.name / f"{id_}_gtFine_{ending}.png",
            label_table(256, labels),
            read_index_png,
        )
        for ending, labels, text in (
            ("labelIds", ids, "gtFine/*_labelIds.png, as distributed"),
            ("labelTrainIds", train_ids, "gtFine/*_labelTrainIds.png, 0..18 (mmsegmentation)"),
        )
    ]
    reading = best(readings, tuple(by_id))
    if reading is None:
        expected = masks / "CITY" / "*_gtFine_labelIds.png"
        raise not_found(name, root, "masks of Cityscapes", expected, "*_gtFine_labelTrainIds.png")
    return reading.dataset(name, split, by_id)
