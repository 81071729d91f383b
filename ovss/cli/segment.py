"""`ovss segment`: your images, your words."""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ovss.cli.common import (
    TINY_NOTE,
    add_companion_argument,
    add_model_arguments,
    backbone_from,
    companion_from,
    described,
    note_to_stderr,
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
    parser.add_argument("--background", type=float, metavar="P", help="pixels below this probability are background")
    parser.add_argument("-o", "--out", default="ovss-out", type=Path, help="output folder (default: ovss-out)")
    add_model_arguments(parser)
    add_companion_argument(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Segment the images; returns 0, 1 when some could not be read, 2 when none could."""
    from tqdm import tqdm

    from ovss.evaluation.records import make_folder
    from ovss.images import SUFFIXES
    from ovss.segment import Segmenter

    files, ignored = _find_images(arguments.images)
    make_folder(arguments.out)
    backbone = backbone_from(arguments)
    segmenter = Segmenter(
        backbone,
        arguments.method,
        arguments.classes,
        protocol=arguments.protocol,
        background=arguments.background,
        companion=companion_from(arguments, backbone),
    )
    if backbone.is_tiny:
        note_to_stderr(TINY_NOTE)
    bad: list[InputError] = []
    start = time.perf_counter()
    for file, name in tqdm(_output_names(files), unit="image", disable=len(files) == 1):
        try:
            segmentation = segmenter(file)
        except InputError as error:
            bad.append(error)
            continue
        written = segmentation.save(arguments.out / name)
        if len(files) == 1:
            shares = ", ".join(f"{label} {share:.0%}" for label, share in list(segmentation.shares.items())[:6])
            note_to_stderr(f"{file}: {shares}")
            show("\n".join(map(str, written)))
    seconds = (time.perf_counter() - start) / len(files)
    if len(bad) == len(files) == 1:
        raise bad[0]
    if len(files) > 1:
        show(f"{len(files) - len(bad)} of {len(files)} images in '{arguments.out}', {seconds:.2f} s per image")
    if ignored:
        note_to_stderr(f"{ignored} files without an image's suffix were left out ({', '.join(SUFFIXES)} are read)")
    for error in bad:
        note_to_stderr(f"ovss: error: {error}")
    return 0 if not bad else 1 if len(bad) < len(files) else 2


def _find_images(paths: list[str]) -> tuple[list[Path], int]:
    """The image files named or lying in the folders named, each once, and how many other files lie there.

    Raises:
        InputError: A path does not exist, or a folder holds no image.
    """
    from ovss.images import SUFFIXES

    files: dict[Path, None] = {}
    ignored = 0
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
            images = [entry for entry in inside if entry.suffix.lower() in SUFFIXES]
            if not images:
                raise InputError(f"folder '{path}' holds no image ({', '.join(SUFFIXES)})")
            ignored += len(inside) - len(images)
            files.update(dict.fromkeys(images))
        elif path.exists():
            files[path] = None
        else:
            raise InputError(f"image '{path}' does not exist")
    return list(files), ignored


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
