"""Finding a data set on a disk: as its authors distribute it, or as mmsegmentation prepares it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovss.datasets.base import FileDataset, Pair, class_names
from ovss.errors import InputError
from ovss.images import check_regular


@dataclass(frozen=True)
class Guide:
    """Where people have a benchmark.

    Attributes:
        folders: Where under the root its folder may be, first match first; "" is the root itself.
        original: The layout that its authors distribute, for messages.
        prepared: The layout that mmsegmentation prepares in its folder `data`, for messages.
        source: Where to get it: pages by name.
    """

    folders: tuple[str, ...]
    original: str
    prepared: str
    source: str


_COCO_SOURCE = "the COCO page (2017 val images) and the COCO-Stuff page (stuffthingmaps_trainval2017)"
_COCO_ORIGINAL = "val2017/*.jpg + stuffthingmaps/val2017/*.png"
_VOC = Guide(
    ("VOCdevkit/VOC2012", "VOC2012", ""),
    "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets}",
    "VOCdevkit/VOC2012/SegmentationClassAug/*.png",
    "the PASCAL VOC 2012 challenge page (VOCtrainval_11-May-2012)",
)
_CONTEXT_ORIGINAL = "VOCdevkit/VOC2010/JPEGImages + trainval/*.mat"
_CONTEXT_SOURCE = "the PASCAL VOC 2010 page (images) and the PASCAL-Context page (labels: trainval, split lists)"
_CONTEXT = Guide(
    ("VOCdevkit/VOC2010", "VOC2010", ""),
    _CONTEXT_ORIGINAL,
    "VOCdevkit/VOC2010/SegmentationClassContext/*.png",
    _CONTEXT_SOURCE,
)
_ADE_SOURCE = "the ADE20K page of MIT"
GUIDES: dict[str, Guide] = {
    "voc21": _VOC,
    "voc20": _VOC,
    "context60": _CONTEXT,
    "context59": _CONTEXT,
    "context459": Guide(
        _CONTEXT.folders, _CONTEXT_ORIGINAL, "the same; its SegmentationClassContext lacks 400 classes", _CONTEXT_SOURCE
    ),
    "coco_stuff171": Guide(
        ("", "coco_stuff164k", "coco", "coco_object"),
        _COCO_ORIGINAL,
        "coco_stuff164k/{images,annotations}/val2017 with *.png or *_labelTrainIds.png",
        _COCO_SOURCE,
    ),
    "coco_object": Guide(
        ("", "coco_object", "coco_stuff164k", "coco"),
        _COCO_ORIGINAL,
        "coco_object/{images,annotations}/val2017 with *_instanceTrainIds.png",
        _COCO_SOURCE,
    ),
    "ade150": Guide(
        ("", "ADEChallengeData2016", "ade/ADEChallengeData2016"),
        "ADEChallengeData2016/{images,annotations}/validation",
        "ade/ADEChallengeData2016/{images,annotations}/validation",
        f"{_ADE_SOURCE} (scene parsing benchmark, ADEChallengeData2016)",
    ),
    "ade847": Guide(
        ("", "ADE20K_2021_17_01", "ade/ADE20K_2021_17_01"),
        "ADE20K_2021_17_01/images/ADE/validation/*/*/*{.jpg,_seg.png}",
        "ADE20K_2021_17_01/{images_detectron2/validation/*.jpg,annotations_detectron2/validation/*.tif}",
        f"{_ADE_SOURCE} (full data set, release 2021_17_01)",
    ),
    "cityscapes": Guide(
        ("", "cityscapes"),
        "leftImg8bit/val + gtFine/val/*/*_labelIds.png",
        "cityscapes/{leftImg8bit,gtFine}/val with *_labelTrainIds.png",
        "the Cityscapes page (gtFine_trainvaltest, leftImg8bit_trainvaltest)",
    ),
}


@dataclass(frozen=True)
class Reading:
    """One way in which the ground truth of a benchmark may lie in a folder.

    Attributes:
        text: What is read, for people.
        path: Label file of an image id.
        table: Label of each code, see `FileDataset`.
        decode: Reads a label file into codes (H, W).
    """

    text: str
    path: Callable[[str], Path]
    table: np.ndarray
    decode: Callable[[Path], np.ndarray]

    def dataset(self, benchmark: str, split: str, images: dict[str, Path], **fields: Any) -> FileDataset:
        """The data set that is read so.

        Args:
            benchmark: Name of its classes and words.
            split: Its part.
            images: Image file of each id, in order.
            **fields: Other fields of `FileDataset`; without them the benchmark's name and classes, no background and
                void 255.
        """
        given = {
            "name": benchmark,
            "classes": class_names(benchmark),
            "background": None,
            "void": 255,
            "vocabulary_name": benchmark,
            "pairs": tuple(Pair(id_, image, self.path(id_)) for id_, image in images.items()),
        }
        own = {"decode": self.decode, "table": self.table, "reading": self.text}
        return FileDataset(split=split, **own, **(given | fields))


def homes(name: str, root: Path) -> Iterator[Path]:
    """Folders under `root` in which a benchmark may lie, those that exist."""
    for folder in GUIDES[name].folders:
        if (root / folder).is_dir():
            yield root / folder


def best(readings: Sequence[Reading], ids: Sequence[str]) -> Reading | None:
    """The reading that has label files for the most images, the first one of equals; None where there is no file."""
    found: tuple[int, Reading | None] = (0, None)
    for reading in readings:
        count = sum(reading.path(id_).exists() for id_ in ids)
        if count == len(ids):
            return reading
        if count > found[0]:
            found = count, reading
    return found[1]


def not_found(name: str, root: Path, what: str, first: Path, *others: str) -> InputError:
    """The error for a benchmark, or a part of it, that is not there.

    Args:
        name: Data set.
        root: Folder that was searched.
        what: The part that is missing.
        first: Where it was expected first.
        others: Where else, relative to its place.
    """
    guide = GUIDES[name]
    instead = f" (or {', '.join(map(repr, others))} in its place)" if others else ""
    near = next((parent for parent in first.parents if parent.is_dir()), root)
    near = root if root.is_relative_to(near) else near
    return InputError(
        f"{what} expected at '{first}'{instead}; {found_in(near)}. {name} is read as its authors distribute it "
        f"({guide.original}) or as mmsegmentation prepares it ({guide.prepared}); get it from {guide.source}, put it "
        f"under '{root}', then: ovss datasets check {name} --root '{root}'"
    )


def find(root: Path, what: str, *candidates: str) -> Path:
    """The first of some paths under `root` that exists.

    Raises:
        InputError: None does; says what was expected and what is there.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    others = f" (or {', '.join(repr(c) for c in candidates[1:])} in its place)" if candidates[1:] else ""
    raise InputError(f"{what} expected at '{root / candidates[0]}'{others}; {found_in(root)}")


def found_in(folder: Path) -> str:
    """What lies in a folder, for error messages."""
    if not folder.is_dir():
        return f"'{folder}' is {'a file' if folder.exists() else 'not there'}"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"'{folder}' holds {shown}" if names else f"'{folder}' is empty"


def read_list(path: Path) -> list[str]:
    """Lines of a split file, blank ones left out.

    Raises:
        InputError: The file cannot be read or is empty.
    """
    check_regular(path, "split file")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"split file '{path}' cannot be read: {error}") from error
    if not any(lines):
        raise InputError(f"split file '{path}' is empty")
    return [line for line in lines if line]
