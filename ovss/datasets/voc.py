"""Pascal VOC 2012 and Pascal Context (VOC 2010 images), in the layout of the VOC devkit."""

import json
from pathlib import Path

import numpy as np

from ovss.datasets.base import CODES, FileDataset, class_names, label_table, void_label
from ovss.datasets.layouts import Reading, best, homes, not_found, read_list
from ovss.datasets.masks import read_index_png
from ovss.datasets.matlab import read_matrix
from ovss.errors import InputError
from ovss.images import check_regular


def open_voc(name: str, root: Path, split: str) -> FileDataset:
    """`voc21`, or `voc20`, which ignores background.

    Read from `SegmentationClass`; from `SegmentationClassAug` where only that is left. Both hold the same codes, but
    masks of the latter that were made from SBD have no void borders.

    Args:
        name: "voc21" or "voc20".
        root: The folder VOC2012, VOCdevkit, or the one above.
        split: "train", "val" or "trainval".
    """
    base = _devkit(name, root, "VOC2012")
    listed = base / f"ImageSets/Segmentation/{split}.txt"
    if not listed.exists():
        raise not_found(name, root, f"split file of {name}", listed)
    images = {id_: base / f"JPEGImages/{id_}.jpg" for id_ in read_list(listed)}
    first = 0 if name == "voc21" else 1
    table = label_table(256, {code: code - first for code in range(first, 21)} | {255: 255})
    table[:first] = 255
    readings = [
        Reading(text, lambda id_, folder=folder: base / folder / f"{id_}.png", table, read_index_png)
        for folder, text in (
            ("SegmentationClass", "SegmentationClass/*.png, as distributed"),
            ("SegmentationClassAug", "SegmentationClassAug/*.png (mmsegmentation, SBD)"),
        )
    ]
    reading = best(readings, tuple(images))
    if reading is None:
        raise not_found(name, root, "masks", base / "SegmentationClass", "SegmentationClassAug")
    return reading.dataset(name, split, images, background=None if first else 0)


def open_context(name: str, root: Path, split: str) -> FileDataset:
    """`context459`, or `context60` and `context59`, which are parts of it.

    The labels are the 459-class .mat files; where there are none, `context60` and `context59` are read from
    mmsegmentation's `SegmentationClassContext`: 0 for all that is outside the 59 classes, then 1..59 in their order.

    The split is read from `ImageSets/SegmentationContext/{split}.txt`, from `{split}.txt` beside the folder of .mat
    files, or from `trainval_merged.json`; lists of 5104 and of 5105 images are both in use.

    Args:
        name: "context459", "context60" or "context59".
        root: The folder VOC2010, VOCdevkit, or the one above; the .mat files in its folder `trainval`.
        split: "train" or "val".
    """
    base = _devkit(name, root, "VOC2010")
    home = next((folder for folder in (base, root) if (folder / "trainval").is_dir()), base)
    images = {id_: base / f"JPEGImages/{id_}.jpg" for id_ in _context_split(name, root, base, home, split)}
    mat = Reading(
        "trainval/*.mat (459 classes), as distributed",
        lambda id_: home / f"trainval/{id_}.mat",
        _context_table(name),
        _read_label_map,
    )
    png = Reading(
        "SegmentationClassContext/*.png, 0..59 (mmsegmentation)",
        lambda id_: base / f"SegmentationClassContext/{id_}.png",
        label_table(256, _context_png_labels(name)),
        read_index_png,
    )
    reading = best([mat] if name == "context459" else [mat, png], tuple(images))
    if reading is None and (home / "trainval").is_dir():
        # Labels may come later; each one that is missing is named when it is read.
        reading = mat
    if reading is None:
        others = () if name == "context459" else ("SegmentationClassContext",)
        raise not_found(name, root, "folder of the 459-class .mat files", base / "trainval", *others)
    return reading.dataset(
        name, split, images, background=0 if name == "context60" else None, void=void_label(class_names(name))
    )


def _read_label_map(path: Path) -> np.ndarray:
    """Codes (H, W) of a Pascal Context .mat file.

    Raises:
        InputError: The file is not a .mat file or has no `LabelMap`.
    """
    return read_matrix(path, "LabelMap")


def _context_table(name: str) -> np.ndarray:
    """Label of each of the 459 ids."""
    void = void_label(class_names(name))
    if name == "context459":
        return label_table(460, {0: void} | {code: code - 1 for code in range(1, 460)})
    first = 1 if name == "context60" else 0
    kept = {code: label + first for label, code in enumerate(CODES["context59_mat_ids"])}
    return label_table(460, kept, default=0 if name == "context60" else void)


def _context_png_labels(name: str) -> dict[int, int]:
    if name == "context60":
        return {code: code for code in range(60)}
    return {0: 255} | {code: code - 1 for code in range(1, 60)}


def _devkit(name: str, root: Path, year: str) -> Path:
    for base in homes(name, root):
        if (base / "JPEGImages").is_dir():
            return base
    raise not_found(name, root, "images", root / "VOCdevkit" / year / "JPEGImages")


def _context_split(name: str, root: Path, base: Path, home: Path, split: str) -> list[str]:
    first = base / "ImageSets" / "SegmentationContext" / f"{split}.txt"
    for listed in (first, home / f"{split}.txt"):
        if listed.is_file():
            return [Path(line).stem for line in read_list(listed)]
    merged = next((f for f in (base / "trainval_merged.json", home / "trainval_merged.json") if f.is_file()), None)
    if merged is None:
        raise not_found(name, root, "split file of Pascal Context", first, "trainval_merged.json")
    check_regular(merged, "split file")
    try:
        images = json.loads(merged.read_text(encoding="utf-8"))["images"]
        return sorted(Path(image["file_name"]).stem for image in images if image["phase"] == split)
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"'{merged}' must hold 'images' with 'file_name' and 'phase': {error!r}") from error
