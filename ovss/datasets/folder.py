"""A data set of one's own: a folder of images, a folder of equally named index masks, a class file."""

from pathlib import Path

import numpy as np

from ovss.datasets.base import FileDataset, Pair, label_table, void_label
from ovss.datasets.layouts import find, found_in
from ovss.datasets.masks import as_codes, open_image, read_index_png
from ovss.errors import InputError
from ovss.images import SUFFIXES
from ovss.vocabulary import load_vocabulary


def open_folder(
    root: Path | None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    classes: str | Path | None = None,
) -> FileDataset:
    """Images and masks that share their names up to the suffix.

    Masks are index PNGs: class indices in the order of the class file, 255 void. With more than 255 classes they
    are 16-bit and 65535 is void, which 16-bit masks may use with fewer classes, too.

    Args:
        root: Folder with `images`, `masks` (or `labels`) and `classes.txt`, `.toml` or `.json`; not needed where
            all three are given.
        images: Another folder of images.
        masks: Another folder of masks.
        classes: Another class file, as `ovss.load_vocabulary` reads it.
    """
    given = Path() if root is None else root
    if root is None and (images is None or masks is None or classes is None):
        raise InputError("data set 'folder' needs a root folder, or all of images, masks and classes")
    image_folder = Path(images) if images is not None else find(given, "folder of images", "images")
    mask_folder = Path(masks) if masks is not None else find(given, "folder of masks", "masks", "labels")
    class_file = (
        Path(classes)
        if classes is not None
        else find(given, "class file", "classes.txt", "classes.toml", "classes.json")
    )
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise InputError(f"folder '{folder}' expected; {found_in(folder)}")
    vocabulary = load_vocabulary(class_file)
    count = len(vocabulary.classes)
    void = void_label(vocabulary.classes)
    files = sorted(path for path in image_folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"images ({', '.join(SUFFIXES)}) expected in '{image_folder}'; {found_in(image_folder)}")
    stems = [path.stem for path in files]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InputError(f"'{image_folder}' has two images named '{twice}'; they would share one mask")
    labels = {code: code for code in range(count)} | {void: void, 65535: void}
    return FileDataset(
        name="folder",
        split="all",
        classes=vocabulary.classes,
        background=vocabulary.background,
        void=void,
        vocabulary_name=str(class_file),
        pairs=tuple(Pair(path.stem, path, mask_folder / f"{path.stem}.png") for path in files),
        decode=read_index_png if void == 255 else _read_wide_index_png,
        table=label_table(65536, labels),
        reading=f"{mask_folder.name}/*.png, class indices",
    )


def _read_wide_index_png(path: Path) -> np.ndarray:
    """Codes (H, W) of a mask of more than 255 classes.

    Raises:
        InputError: An 8-bit mask holds 255, which may mean void or class 255.
    """
    image = open_image(path)
    codes = as_codes(image, path)
    if image.mode in ("P", "L") and (codes == 255).any():
        raise InputError(f"mask '{path}' is 8-bit and holds 255, void or class 255; save it as 16-bit, void 65535")
    return codes
