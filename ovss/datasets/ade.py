"""ADE20K: the 150 classes of the scene-parsing challenge and 847 of the full annotation."""

from pathlib import Path

import numpy as np

from ovss.datasets.base import CODES, FileDataset, class_names, label_table, void_label
from ovss.datasets.layouts import Reading, best, found_in, homes, not_found
from ovss.datasets.masks import open_image, read_index_png
from ovss.errors import InputError

_FOLDERS = {"val": "validation", "train": "training"}


def open_ade150(name: str, root: Path, split: str) -> FileDataset:
    """`ade150`; mmsegmentation uses the files as they are distributed.

    Args:
        name: "ade150".
        root: The folder ADEChallengeData2016, or one above it.
        split: "val" or "train".
    """
    part = _FOLDERS[split]
    base = next((home for home in homes(name, root) if (home / "images" / part).is_dir()), None)
    if base is None:
        raise not_found(name, root, "images of ADE20K", root / "images" / part)
    files = sorted((base / "images" / part).glob("*.jpg"))
    if not files:
        raise InputError(
            f"images of ADE20K expected as '{base}/images/{part}/*.jpg'; {found_in(base / 'images' / part)}"
        )
    images = {path.stem: path for path in files}
    reading = Reading(
        f"annotations/{part}/*.png, as distributed",
        lambda id_: base / "annotations" / part / f"{id_}.png",
        label_table(256, {0: 255} | {code: code - 1 for code in range(1, 151)}),
        read_index_png,
    )
    if best([reading], tuple(images)) is None:
        raise not_found(name, root, "masks of ADE20K", base / "annotations" / part)
    return reading.dataset(name, split, images)


def open_ade847(name: str, root: Path, split: str) -> FileDataset:
    """`ade847`: full annotation, release 2021_17_01, objects outside the 847 ignored.

    Images and labels are brought to the size of the released preparation, see `ovss.datasets.shrink`. Where the
    original release is not there, its prepared files are read: `images_detectron2` and 16-bit
    `annotations_detectron2`, labels 0..846 and 65535, already of that size.

    Args:
        name: "ade847".
        root: The folder ADE20K_2021_17_01, or one above it.
        split: "val" or "train".
    """
    part = _FOLDERS[split]
    classes = class_names(name)
    void = void_label(classes)
    labels = {code: label for label, code in enumerate(CODES["ade847_index"])}
    for base in homes(name, root):
        original, prepared = base / "images/ADE" / part, base / "images_detectron2" / part
        shrink = original.is_dir()
        found = original.rglob("*.jpg") if shrink else prepared.glob("*.jpg")
        images = {path.stem: path for path in sorted(found, key=lambda path: path.stem)}
        if not images:
            continue
        if shrink:
            reading = Reading(
                f"images/ADE/{part}/**/*_seg.png, as distributed, shrunk to a short side of at most 512",
                lambda id_, images=images: images[id_].with_name(f"{id_}_seg.png"),
                label_table(26 * 256, labels, default=void),
                _read_object_codes,
            )
        else:
            reading = Reading(
                f"annotations_detectron2/{part}/*.tif, 0..846 (prepared for Detectron2 and mmsegmentation)",
                lambda id_, base=base: base / "annotations_detectron2" / part / f"{id_}.tif",
                label_table(65536, {label: label for label in range(len(classes))} | {void: void}),
                read_index_png,
            )
        if best([reading], tuple(images)) is None:
            first = next(iter(images))
            raise not_found(name, root, "masks of the full ADE20K", reading.path(first))
        return reading.dataset(name, split, images, void=void, shrink=shrink)
    others = (f"images_detectron2/{part}",)
    raise not_found(name, root, "images and masks of the full ADE20K", root / "images/ADE" / part, *others)


def _read_object_codes(path: Path) -> np.ndarray:
    """Object index (H, W) of a `*_seg.png`: tens of red times 256, plus green.

    Raises:
        InputError: The image is not RGB, or cannot be read.
    """
    image = open_image(path)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(f"mask '{path}' is a {image.mode} image; the full ADE20K codes objects in red and green")
    values = np.asarray(image).astype(np.int64)
    return values[..., 0] // 10 * 256 + values[..., 1]
