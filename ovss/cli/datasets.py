"""`ovss datasets`: what is where, and is it whole?"""

import argparse

from tqdm import tqdm

from ovss.cli.protocols import aligned
from ovss.datasets import BENCHMARKS, OTHER_NAMES, list_datasets, load_dataset
from ovss.datasets.base import FileDataset, class_names
from ovss.datasets.check import Inspection, inspect
from ovss.datasets.roots import find_root
from ovss.errors import InputError
from ovss.scenes.scenes import VARIANTS

SHOWN = 20
"""Problems that are printed; the others are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("action", nargs="?", choices=["list", "check"], default="list", help="list (default) or check")
    parser.add_argument("name", nargs="?", help="data set to check")
    parser.add_argument("--root", help="its folder (default: $OVSS_DATA_<NAME>, $OVSS_DATA, or the configuration file)")
    parser.add_argument("--split", default="val", help="val (default), train, ...")
    parser.add_argument("--limit", type=int, help="check only so many images, evenly spread")
    parser.add_argument("--images", help="for 'folder': folder of images")
    parser.add_argument("--masks", help="for 'folder': folder of masks")
    parser.add_argument("--classes", help="for 'folder': class file")
    parser.add_argument("--encoding", help="for COCO: what masks of the plain name hold, if their values do not tell")


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or check one data set; returns 1 when the check finds a problem."""
    if arguments.action == "list":
        print(aligned([("name", "classes", "state", "where"), *(_state(name) for name in list_datasets())]))
        return 0
    if arguments.name is None:
        raise InputError("which data set is to be checked? ovss datasets check NAME --root DIR")
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit} must be at least 1")
    options = {
        key: getattr(arguments, key) for key in ("images", "masks", "classes", "encoding") if getattr(arguments, key)
    }
    dataset = load_dataset(arguments.name, arguments.root, arguments.split, **options)
    if not isinstance(dataset, FileDataset):
        print(f"{arguments.name} is generated, {len(dataset)} images; there is nothing to check")
        return 0
    chosen = range(0, len(dataset), max(1, len(dataset) // (arguments.limit or len(dataset))))[: arguments.limit]
    found = inspect(dataset, tqdm(chosen, unit="image"))
    print(summary(dataset, found))
    return 1 if found.problems else 0


def summary(dataset: FileDataset, found: Inspection) -> str:
    """What an inspection found, as text."""
    lines = [f"{dataset.name} {dataset.split}: {found.images} images, {found.read} read with their masks"]
    lines.append(f"reading: {dataset.reading}")
    benchmark = BENCHMARKS.get(dataset.benchmark)
    if benchmark and dataset.split == "val" and found.images not in benchmark.counts:
        lines.append(f"note: the published validation part has {' or '.join(map(str, benchmark.counts))} images")
    if found.sizes:
        widths, heights = zip(*found.sizes, strict=True)
        span = f"width {min(widths)}..{max(widths)}, height {min(heights)}..{max(heights)}"
        lines.append(f"sizes: {len(found.sizes)} different, {span}")
    total = max(1, int(found.pixels.sum()) + found.void)
    lines.append(f"void: {100 * found.void / total:.2f} % of the pixels")
    rows = [("label", "class", "pixels", "share")]
    for number, (name, count) in enumerate(zip(dataset.classes, found.pixels, strict=True)):
        if count:
            rows.append((str(number), name, str(count), f"{100 * count / total:.2f} %"))
    lines.append(aligned(rows))
    absent = [name for name, count in zip(dataset.classes, found.pixels, strict=True) if not count]
    if absent:
        lines.append(f"classes that do not occur: {len(absent)} ({', '.join(absent[:8])}{', ...' * (len(absent) > 8)})")
    lines.append(f"problems: {len(found.problems)}")
    lines += found.problems[:SHOWN]
    if len(found.problems) > SHOWN:
        lines.append(f"... and {len(found.problems) - SHOWN} more")
    return "\n".join(lines)


def _state(name: str) -> tuple[str, str, str, str]:
    classes = "" if name == "folder" else str(len(class_names(OTHER_NAMES.get(name, (name,))[0])))
    if name in VARIANTS:
        return name, classes, "ready", "generated"
    try:
        found = find_root(OTHER_NAMES.get(name, (name,))[0])
        if found is None:
            return name, classes, "no folder known", "set $OVSS_DATA or give --root"
        dataset = load_dataset(name, found[0])
    except InputError as error:
        return name, classes, "not usable", str(error)
    where = f"{found[0]} (from {found[1]}); {dataset.reading}"
    return name, str(len(dataset.classes)), f"{len(dataset)} images", where
