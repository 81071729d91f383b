"""Pascal VOC 2012 and Pascal Context (VOC 2010 pictures), in the layout of the VOC devkit."""

import json
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ovss.datasets.base import (
    CODES,
    FileDataset,
    Pair,
    class_names,
    find,
    found_in,
    label_table,
    read_index_png,
    read_list,
    void_label,
)
from ovss.errors import InputError


def open_voc(name: str, root: Path, split: str) -> FileDataset:
    """`voc21`, or `voc20`, which ignores background.

    Args:
        name: "voc21" or "voc20".
        root: The folder VOC2012, VOCdevkit, or the one above.
        split: "train", "val" or "trainval".
    """
    base = _devkit(root, "VOC2012")
    listed = find(base, f"split file of {name}", f"ImageSets/Segmentation/{split}.txt")
    images, masks = find(base, "pictures", "JPEGImages"), find(base, "masks", "SegmentationClass")
    first = 0 if name == "voc21" else 1
    classes = class_names(name)
    table = label_table(256, {code: code - first for code in range(first, 21)} | {255: 255})
    table[:first] = 255
    return FileDataset(
        name=name,
        split=split,
        classes=classes,
        background=None if first else 0,
        void=255,
        vocabulary_name=name,
        pairs=tuple(Pair(id_, images / f"{id_}.jpg", masks / f"{id_}.png") for id_ in read_list(listed)),
        decode=read_index_png,
        table=table,
    )


def open_context(name: str, root: Path, split: str) -> FileDataset:
    """`context459`, or `context60` and `context59`, which are parts of it.

    The split is read from `ImageSets/SegmentationContext/{split}.txt`, from `{split}.txt` beside the folder of .mat
    files, or from `trainval_merged.json`; lists of 5104 and of 5105 pictures are both in use.

    Args:
        name: "context459", "context60" or "context59".
        root: The folder VOC2010, VOCdevkit, or the one above; the .mat files in its folder `trainval`.
        split: "train" or "val".
    """
    base = _devkit(root, "VOC2010")
    images = find(base, "pictures", "JPEGImages")
    homes = [folder for folder in (base, root) if (folder / "trainval").is_dir()]
    home = homes[0] if homes else find(base, "folder of the 459-class .mat files", "trainval").parent
    classes = class_names(name)
    void = void_label(classes)
    if name == "context459":
        table = label_table(460, {0: void} | {code: code - 1 for code in range(1, 460)})
    else:
        first = 1 if name == "context60" else 0
        kept = {code: label + first for label, code in enumerate(CODES["context59_mat_ids"])}
        table = label_table(460, kept, default=0 if name == "context60" else void)
    ids = _context_split(base, home, split)
    return FileDataset(
        name=name,
        split=split,
        classes=classes,
        background=0 if name == "context60" else None,
        void=void,
        vocabulary_name=name,
        pairs=tuple(Pair(id_, images / f"{id_}.jpg", home / "trainval" / f"{id_}.mat") for id_ in ids),
        decode=read_label_map,
        table=table,
    )


def read_label_map(path: Path) -> np.ndarray:
    """Codes (H, W) of a Pascal Context .mat file.

    Raises:
        InputError: The file is no .mat file or has no `LabelMap`.
    """
    try:
        content = loadmat(path)
    except (MatReadError, zlib.error, OSError, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"'{path}' cannot be read as a .mat file: {error}") from error
    if "LabelMap" not in content:
        found = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise InputError(f"'{path}' must hold an array LabelMap; it holds {found}")
    return np.asarray(content["LabelMap"]).astype(np.int64)


def _devkit(root: Path, year: str) -> Path:
    for base in (root / "VOCdevkit" / year, root / year, root):
        if (base / "JPEGImages").is_dir():
            return base
    raise InputError(f"pictures expected at '{root / 'VOCdevkit' / year / 'JPEGImages'}'; {found_in(root)}")


def _context_split(base: Path, home: Path, split: str) -> list[str]:
    for listed in (base / "ImageSets" / "SegmentationContext" / f"{split}.txt", home / f"{split}.txt"):
        if listed.is_file():
            return [Path(line).stem for line in read_list(listed)]
    merged = next((f for f in (base / "trainval_merged.json", home / "trainval_merged.json") if f.is_file()), None)
    if merged is None:
        return [str(find(base, "split file of Pascal Context", f"ImageSets/SegmentationContext/{split}.txt"))]
    try:
        images = json.loads(merged.read_text(encoding="utf-8"))["images"]
        return sorted(Path(image["file_name"]).stem for image in images if image["phase"] == split)
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"'{merged}' must hold 'images' with 'file_name' and 'phase': {error!r}") from error
