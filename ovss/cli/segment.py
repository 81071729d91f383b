"""`ovss segment`: your images, your words."""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ovss.cli.common import (
    add_companion_argument,
    add_model_arguments,
    add_windows_argument,
    backbone_from,
    companion_from,
    described,
    left_behind,
    note_on_weights,
    note_to_stderr,
    require_positive,
    show,
)
from ovss.errors import InputError

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `segment`."""
    parser = commands.add_parser("segment", **described("label every pixel of your images with your words"))
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of images")
    parser.add_argument(
        "-c",
        "--classes",
        required=True,
        help="'cat; sofa, couch; background: wall, floor' (classes; synonyms by comma), a data set's name, "
        "or a .toml or .json file",
    )
    parser.add_argument("--method", default="naclip", help="see 'ovss list methods' (default: naclip)")
    parser.add_argument("--protocol", help="see 'ovss list protocols' (default: window224; study for tiny)")
    add_windows_argument(parser)
    parser.add_argument("--background", type=float, metavar="P", help="pixels below this probability are background")
    parser.add_argument("-o", "--out", default="ovss-out", type=Path, help="output folder (default: ovss-out)")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="windows per backbone pass (default: 16)"
    )
    add_model_arguments(parser)
    add_companion_argument(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Segment the images; returns 0, 1 when some could not be read, 2 when none could."""
    from tqdm import tqdm

    from ovss.evaluation.records import make_folder
    from ovss.images import SUFFIXES, find_images
    from ovss.segment import Segmenter

    require_positive(arguments, "batch_size")
    files, ignored = find_images(arguments.images)
    make_folder(arguments.out)
    backbone = backbone_from(arguments)
    segmenter = Segmenter(
        backbone,
        arguments.method,
        arguments.classes,
        protocol=arguments.protocol,
        background=arguments.background,
        windows=arguments.windows,
        batch_size=arguments.batch_size,
        companion=companion_from(arguments, backbone),
    )
    note_on_weights(backbone)
    bad: list[InputError] = []
    start = time.perf_counter()
    done = 0
    remains = "of {} images are labelled in '{}'; the same command labels all of them again"
    with left_behind(lambda: f"{done} {remains.format(len(files), arguments.out)}"):
        for file, name in tqdm(_output_names(files), unit="image", disable=len(files) == 1):
            try:
                segmentation = segmenter(file)
            except InputError as error:
                bad.append(error)
                continue
            written = segmentation.save(arguments.out / name)
            done += 1
            if len(files) == 1:
                shares = ", ".join(f"{label} {share:.0%}" for label, share in list(segmentation.shares.items())[:6])
                note_to_stderr(f"{file}: {shares}")
                show("\n".join(map(str, written)))
    seconds = (time.perf_counter() - start) / len(files)
    if len(bad) == len(files) == 1:
        raise bad[0]
    if len(files) > 1:
        show(f"{done} of {len(files)} images in '{arguments.out}', {seconds:.2f} s per image")
    if ignored:
        note_to_stderr(f"{ignored} files without an image's suffix were left out ({', '.join(SUFFIXES)} are read)")
    for error in bad:
        note_to_stderr(f"ovss: error: {error}")
    return 0 if not bad else 1 if len(bad) < len(files) else 2


def _output_names(files: list[Path]) -> list[tuple[Path, str]]:
    """A distinct output name per file: its stem; with suffix, then a number, where stems coincide."""
    stems = Counter(file.stem for file in files)
    taken: Counter[str] = Counter()
    result = []
    for file in files:
        name = file.stem if stems[file.stem] == 1 else f"{file.stem}_{file.suffix.removeprefix('.')}"
        taken[name] += 1
        result.append((file, name if taken[name] == 1 else f"{name}-{taken[name]}"))
    return result
