"""Benchmarks as distributed or as mmsegmentation prepares them, a folder of one's own, the embedded data set.

Words used here:
    code: Value of a pixel in a label file. Label: index into the class list, or void.
    reading: One way in which the ground truth of a benchmark may lie in a folder.
    split: Part of a benchmark: "val", "train", ...
    fingerprint: SHA-256 over the images, the masks and how they are read.
    root: Folder that holds benchmarks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovss.datasets.ade import open_ade150, open_ade847
from ovss.datasets.base import Dataset, FileDataset, Sample
from ovss.datasets.cityscapes import open_cityscapes
from ovss.datasets.coco import open_coco
from ovss.datasets.folder import open_folder
from ovss.datasets.generated import GeneratedDataset
from ovss.datasets.roots import find_root, require_root
from ovss.datasets.voc import open_context, open_voc
from ovss.errors import InputError, suggest
from ovss.scenes.scenes import VARIANTS

__all__ = ["BENCHMARKS", "OTHER_NAMES", "Benchmark", "Dataset", "Sample", "list_datasets", "load_dataset"]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that lies on disk.

    Attributes:
        open: Makes the data set from its name, folder and split.
        splits: Parts it has.
        counts: Images in the validation part; Pascal Context circulates with two lists.
        options: Names of the options that `open` takes besides.
    """

    open: Callable[..., FileDataset]
    splits: tuple[str, ...]
    counts: tuple[int, ...]
    options: tuple[str, ...] = ()


_BOTH = ("val", "train")
BENCHMARKS: dict[str, Benchmark] = {
    "voc21": Benchmark(open_voc, (*_BOTH, "trainval"), (1449,)),
    "voc20": Benchmark(open_voc, (*_BOTH, "trainval"), (1449,)),
    "context60": Benchmark(open_context, _BOTH, (5104, 5105)),
    "context59": Benchmark(open_context, _BOTH, (5104, 5105)),
    "context459": Benchmark(open_context, _BOTH, (5104, 5105)),
    "coco_stuff171": Benchmark(open_coco, _BOTH, (5000,), ("encoding",)),
    "coco_object": Benchmark(open_coco, _BOTH, (5000,), ("encoding", "unlabelled")),
    "ade150": Benchmark(open_ade150, _BOTH, (2000,)),
    "ade847": Benchmark(open_ade847, _BOTH, (2000,)),
    "cityscapes": Benchmark(open_cityscapes, _BOTH, (500,)),
}
OTHER_NAMES: dict[str, tuple[str, dict[str, str]]] = {"coco_object-void": ("coco_object", {"unlabelled": "void"})}
"""Names that stand for a benchmark with options, for the command line; the data set carries the name, too."""


def list_datasets() -> list[str]:
    """Names that `load_dataset` knows."""
    return [*BENCHMARKS, *OTHER_NAMES, "folder", *VARIANTS]


def load_dataset(name: str, root: str | Path | None = None, split: str = "val", **options: Any) -> Dataset:
    """Open a data set; images are read when they are asked for.

    Args:
        name: A benchmark ("voc21", "ade150", ...), "folder", or a variant of the embedded data set ("scenes", ...).
        root: Folder of the data as their authors distribute them or mmsegmentation prepares them, or the folder above
            (mmsegmentation's `data`); None: `$OVSS_DATA_<NAME>`, `$OVSS_DATA`, or the configuration file.
        split: "val" or "train" ("trainval" for VOC); for generated images also "test" and seeds as in "test-7".
        **options: For "folder" `images`, `masks` and `classes`; for generated images `length` (500); for COCO
            `encoding` of masks under the plain name, where their values leave a doubt ("codes", "train-ids",
            "object-ids"); for "coco_object" `unlabelled`: "background", as published, or "void", which is also the
            data set "coco_object-void".

    Example:
        >>> scenes = load_dataset("scenes", length=3)
        >>> len(scenes), scenes[0].id, scenes[0].labels.shape
        (3, 'val_000000', (192, 192))

    Raises:
        InputError: Unknown data set, split or option, a folder that is missing or laid out otherwise.
    """
    if name in OTHER_NAMES:
        name, fixed = OTHER_NAMES[name]
        options |= fixed
    allowed = {"folder": ("images", "masks", "classes")} | dict.fromkeys(VARIANTS, ("length",))
    allowed |= {known: benchmark.options for known, benchmark in BENCHMARKS.items()}
    for option in options:
        if option not in allowed.get(name, ()):
            known = ", ".join(allowed.get(name, ())) or "none"
            raise InputError(f"data set '{name}' has no option '{option}'; its options: {known}")
    if name in VARIANTS:
        return GeneratedDataset(name, split, **options)
    if name == "folder":
        if split not in ("val", "all"):  # the usual one, and what its rows say
            raise InputError(f"data set 'folder' has no split '{split}'; it is one folder of images and masks")
        found = find_root(name, root)
        return open_folder(found[0] if found else None, **options)
    if name not in BENCHMARKS:
        raise InputError(f"data set '{name}' is unknown.{suggest(name, list_datasets())}")
    benchmark = BENCHMARKS[name]
    if split not in benchmark.splits:
        raise InputError(f"data set '{name}' has no split '{split}'; it has {', '.join(benchmark.splits)}")
    return benchmark.open(name, require_root(name, root), split, **options)
