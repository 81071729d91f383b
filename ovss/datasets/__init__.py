"""Benchmarks as their authors distribute them, a folder of one's own, and the embedded data set."""

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
from ovss.tiny.scenes import VARIANTS

__all__ = ["BENCHMARKS", "Benchmark", "Dataset", "Sample", "list_datasets", "load_dataset"]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that lies on disk.

    Attributes:
        open: Makes the data set from its name, folder and split.
        splits: Parts it has.
        counts: Pictures in the validation part; Pascal Context circulates with two lists.
    """

    open: Callable[[str, Path, str], FileDataset]
    splits: tuple[str, ...]
    counts: tuple[int, ...]


_BOTH = ("val", "train")
BENCHMARKS: dict[str, Benchmark] = {
    "voc21": Benchmark(open_voc, (*_BOTH, "trainval"), (1449,)),
    "voc20": Benchmark(open_voc, (*_BOTH, "trainval"), (1449,)),
    "context60": Benchmark(open_context, _BOTH, (5104, 5105)),
    "context59": Benchmark(open_context, _BOTH, (5104, 5105)),
    "context459": Benchmark(open_context, _BOTH, (5104, 5105)),
    "coco_stuff171": Benchmark(open_coco, _BOTH, (5000,)),
    "coco_object": Benchmark(open_coco, _BOTH, (5000,)),
    "ade150": Benchmark(open_ade150, _BOTH, (2000,)),
    "ade847": Benchmark(open_ade847, _BOTH, (2000,)),
    "cityscapes": Benchmark(open_cityscapes, _BOTH, (500,)),
}


def list_datasets() -> list[str]:
    """Names that `load_dataset` knows."""
    return [*BENCHMARKS, "folder", *VARIANTS]


def load_dataset(name: str, root: str | Path | None = None, split: str = "val", **options: Any) -> Dataset:
    """Open a data set; pictures are read when they are asked for.

    Args:
        name: A benchmark ("voc21", "ade150", ...), "folder", or a variant of the embedded data set ("scenes", ...).
        root: Folder of the data as their authors distribute them; None: `$OVSS_DATA_<NAME>`, `$OVSS_DATA`, or the
            configuration file.
        split: "val" or "train" ("trainval" for VOC); for generated pictures also "test" and seeds as in "test-7".
        **options: For "folder" `images`, `masks` and `classes`; for generated pictures `length` (500).

    Raises:
        InputError: Unknown data set, split or option, a folder that is missing or laid out otherwise.
    """
    allowed = {"folder": ("images", "masks", "classes")} | dict.fromkeys(VARIANTS, ("length",))
    for option in options:
        if option not in allowed.get(name, ()):
            known = ", ".join(allowed.get(name, ())) or "none"
            raise InputError(f"data set '{name}' has no option '{option}'; its options: {known}")
    if name in VARIANTS:
        return GeneratedDataset(name, split, **options)
    if name == "folder":
        found = find_root(name, root)
        return open_folder(found[0] if found else None, **options)
    if name not in BENCHMARKS:
        raise InputError(f"data set '{name}' is unknown.{suggest(name, list_datasets())}")
    benchmark = BENCHMARKS[name]
    if split not in benchmark.splits:
        raise InputError(f"data set '{name}' has no split '{split}'; it has {', '.join(benchmark.splits)}")
    return benchmark.open(name, require_root(name, root), split)
