"""`ovss list datasets [NAME]` and `ovss datasets check NAME`: what is where, and is it whole?"""

import argparse
from typing import TYPE_CHECKING, Any

from ovss.cli.common import bars, described, open_dataset, require_positive, show
from ovss.errors import InputError, suggest
from ovss.files.tables import text_table

if TYPE_CHECKING:
    from ovss.datasets.base import FileDataset
    from ovss.datasets.check import Inspection

__all__ = ["add_command"]

_SHOWN = 20
"""Problems that are printed; the others are counted."""


def add_command(commands: Any) -> None:
    """Add `datasets`."""
    parser = commands.add_parser("datasets", **described("list the data sets and where they are, or check one"))
    parser.add_argument("action", nargs="?", choices=["list", "check"], default="list", help="list (default) or check")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set")
    parser.add_argument("--root", help="its folder (default: $OVSS_DATA_<NAME>, $OVSS_DATA, or the configuration file)")
    parser.add_argument("--split", default="val", help="val (default), train, ...")
    parser.add_argument("--limit", type=int, help="check only so many images, evenly spread")
    parser.add_argument("--images", help="for 'folder': folder of images")
    parser.add_argument("--masks", help="for 'folder': folder of masks")
    parser.add_argument("--classes", help="for 'folder': class file")
    parser.add_argument("--encoding", help="for COCO: what masks of the plain name hold, if their values leave a doubt")
    parser.set_defaults(run=_run)


def add_listing(commands: Any) -> None:
    """Add `datasets` to `ovss list`, where a name shows one."""
    parser = commands.add_parser("datasets", **described("list the data sets and where they are, or show one"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set; without it all are listed")
    parser.set_defaults(run=_run, action="list")


def _run(arguments: argparse.Namespace) -> int:
    """Print the list or one data set, or check one; returns 1 when the check finds a problem."""
    if arguments.action == "check":
        return _check(arguments)
    show(overview() if arguments.name is None else details(arguments.name))
    return 0


def overview() -> str:
    """A table with a line per data set."""
    from ovss.datasets import list_datasets

    return text_table([("name", "classes", "state", "where"), *(_state(name) for name in list_datasets())])


def details(name: str) -> str:
    """Parts, classes and place of a data set.

    Raises:
        InputError: No data set has this name.
    """
    from ovss.datasets import BENCHMARKS, OTHER_NAMES, list_datasets
    from ovss.datasets.base import class_names

    if name not in list_datasets():
        raise InputError(f"data set '{name}' is unknown.{suggest(name, list_datasets())}")
    base = OTHER_NAMES.get(name, (name,))[0]
    _, classes, state, where = _state(name)
    rows = [("state", state), ("where", where), ("classes", classes or "those of its class file")]
    if base in BENCHMARKS:
        benchmark = BENCHMARKS[base]
        rows += [
            ("splits", ", ".join(benchmark.splits)),
            ("validation images", " or ".join(map(str, benchmark.counts))),
        ]
    lines = [name, "", text_table(rows)]
    if name != "folder":
        lines += ["", text_table([(str(number), text) for number, text in enumerate(class_names(base))])]
    return "\n".join(lines)


def _check(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ovss.datasets.base import FileDataset
    from ovss.datasets.check import inspect

    if arguments.name is None:
        raise InputError("which data set is to be checked? ovss datasets check NAME --root DIR")
    require_positive(arguments, "limit")
    dataset = open_dataset(arguments, arguments.name, arguments.split)
    if not isinstance(dataset, FileDataset):
        show(f"{arguments.name} is generated, {len(dataset)} images; there is nothing to check")
        return 0
    chosen = range(0, len(dataset), max(1, len(dataset) // (arguments.limit or len(dataset))))[: arguments.limit]
    found = inspect(dataset, tqdm(chosen, unit="image", disable=not bars()))
    show(summary(dataset, found))
    return 1 if found.problems else 0


def summary(dataset: "FileDataset", found: "Inspection") -> str:
    """What an inspection found, as text."""
    from ovss.datasets import BENCHMARKS

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
    lines.append(text_table(rows))
    absent = [name for name, count in zip(dataset.classes, found.pixels, strict=True) if not count]
    if absent:
        lines.append(f"classes that do not occur: {len(absent)} ({', '.join(absent[:8])}{', ...' * (len(absent) > 8)})")
    lines.append(f"problems: {len(found.problems)}")
    lines += found.problems[:_SHOWN]
    if len(found.problems) > _SHOWN:
        lines.append(f"... and {len(found.problems) - _SHOWN} more")
    return "\n".join(lines)


def _state(name: str) -> tuple[str, str, str, str]:
    """Name, number of classes, state and place."""
    from ovss.datasets import OTHER_NAMES, load_dataset
    from ovss.datasets.base import class_names
    from ovss.datasets.roots import find_root
    from ovss.scenes.scenes import VARIANTS

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
