"""ADE20K: the 150 classes of the scene-parsing challenge and 847 of the full annotation."""

from pathlib import Path

import numpy as np

from ovss.datasets.base import (
    CODES,
    FileDataset,
    Pair,
    class_names,
    find,
    found_in,
    label_table,
    open_image,
    read_index_png,
    void_label,
)
from ovss.errors import InputError

FOLDERS = {"val": "validation", "train": "training"}


def open_ade150(name: str, root: Path, split: str) -> FileDataset:
    """`ade150`.

    Args:
        name: "ade150".
        root: The folder ADEChallengeData2016, or the one above.
        split: "val" or "train".
    """
    base = root / "ADEChallengeData2016" if (root / "ADEChallengeData2016").is_dir() else root
    images = find(base, "pictures of ADE20K", f"images/{FOLDERS[split]}")
    masks = find(base, "masks of ADE20K", f"annotations/{FOLDERS[split]}")
    ids = sorted(path.stem for path in images.glob("*.jpg"))
    if not ids:
        raise InputError(f"pictures of ADE20K expected as '{images}/*.jpg'; {found_in(images)}")
    return FileDataset(
        name=name,
        split=split,
        classes=class_names(name),
        background=None,
        void=255,
        vocabulary_name=name,
        pairs=tuple(Pair(id_, images / f"{id_}.jpg", masks / f"{id_}.png") for id_ in ids),
        decode=read_index_png,
        table=label_table(256, {0: 255} | {code: code - 1 for code in range(1, 151)}),
    )


def open_ade847(name: str, root: Path, split: str) -> FileDataset:
    """`ade847`: full annotation, release 2021_17_01, objects outside the 847 ignored.

    Args:
        name: "ade847".
        root: The folder ADE20K_2021_17_01, or the one above.
        split: "val" or "train".
    """
    base = root / "ADE20K_2021_17_01" if (root / "ADE20K_2021_17_01").is_dir() else root
    folder = find(base, "pictures and masks of the full ADE20K", f"images/ADE/{FOLDERS[split]}")
    images = sorted(folder.rglob("*.jpg"), key=lambda path: path.stem)
    if not images:
        raise InputError(f"pictures of ADE20K expected as '{folder}/SCENES/SCENE/*.jpg'; {found_in(folder)}")
    classes = class_names(name)
    void = void_label(classes)
    labels = {code: label for label, code in enumerate(CODES["ade847_index"])}
    return FileDataset(
        name=name,
        split=split,
        classes=classes,
        background=None,
        void=void,
        vocabulary_name=name,
        pairs=tuple(Pair(path.stem, path, path.with_name(f"{path.stem}_seg.png")) for path in images),
        decode=read_object_codes,
        table=label_table(26 * 256, labels, default=void),
    )


def read_object_codes(path: Path) -> np.ndarray:
    """Object index (H, W) of a `*_seg.png`: tens of red times 256, plus green.

    Raises:
        InputError: The picture is not RGB, or cannot be read.
    """
    image = open_image(path)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(f"mask '{path}' is a {image.mode} picture; the full ADE20K codes objects in red and green")
    values = np.asarray(image).astype(np.int64)
    return values[..., 0] // 10 * 256 + values[..., 1]
