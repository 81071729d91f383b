"""`ovss segment`: your images, your words."""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import (
    add_companion_argument,
    add_model_arguments,
    add_windows_argument,
    backbone_from,
    bars,
    companion_from,
    described,
    fault_to_stderr,
    left_behind,
    method_names,
    note_on_weights,
    note_to_stderr,
    require_positive,
    show,
)
from ovss.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovss.segment import Segmentation

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `segment`."""
    parser = commands.add_parser("segment", **described("label every pixel of your images with your words"))
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files, folders of images, or quoted patterns")
    parser.add_argument(
        "-c",
        "--classes",
        required=True,
        action="append",
        help="'cat; sofa, couch; background: wall, floor' (classes; synonyms by comma), a data set's name, "
        "or a .toml or .json file; repeated, words add up",
    )
    parser.add_argument("--method", action="append", default=[], help="see 'ovss list methods' (default: naclip)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="several methods, with parameters as in 'naclip(sigma=2)', after the images: file names carry the method, "
        "and a sheet shows all of them",
    )
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
    from ovss.methods import resolve_methods
    from ovss.segment.several import SeveralSegmenters

    require_positive(arguments, "batch_size")
    methods = resolve_methods(method_names([*arguments.method, *arguments.methods]) or "naclip")
    if not arguments.images:
        raise InputError("no image was given; images stand before the options, as in 'ovss segment photo.jpg -c cat'")
    files, ignored = find_images(arguments.images)
    make_folder(arguments.out)
    backbone = backbone_from(arguments)
    segmenter = SeveralSegmenters(
        backbone,
        methods,
        _words(arguments.classes),
        protocol=arguments.protocol,
        background=arguments.background,
        windows=arguments.windows,
        batch_size=arguments.batch_size,
        companion=companion_from(arguments, backbone),
    )
    note_on_weights(backbone)
    bad: list[InputError] = []
    start = time.perf_counter()
    done, replaced = 0, 0
    remains = "of {} images are labelled in '{}'; the same command labels all of them again"
    with left_behind(lambda: f"{done} {remains.format(len(files), arguments.out)}"):
        for file, name in tqdm(_output_names(files), unit="image", disable=len(files) == 1 or not bars()):
            try:
                found = segmenter(file)
            except InputError as error:
                bad.append(error)
                continue
            before = {path.name for path in arguments.out.iterdir()}
            written = _save(found, arguments.out / name)
            replaced += any(path.name in before for path in written)
            done += 1
            if len(files) == 1:
                for one in found:
                    shares = ", ".join(f"{label} {share:.0%}" for label, share in list(one.shares.items())[:6])
                    note_to_stderr(f"{file}{f', {one.method}' if len(found) > 1 else ''}: {shares}")
                show("\n".join(map(str, written)))
    seconds = (time.perf_counter() - start) / len(files)
    if len(bad) == len(files) == 1:
        raise bad[0]
    if len(files) > 1:
        show(f"{done} of {len(files)} images in '{arguments.out}', {seconds:.2f} s per image")
    if replaced:
        note_to_stderr(f"note: earlier results of {replaced} images in '{arguments.out}' were replaced")
    if ignored:
        note_to_stderr(f"{ignored} files without an image's suffix were left out ({', '.join(SUFFIXES)} are read)")
    for error in bad:
        fault_to_stderr(f"ovss: error: {error}")
    return 0 if not bad else 1 if len(bad) < len(files) else 2


def _words(given: "Sequence[str]") -> str:
    """The words of all options together.

    Raises:
        InputError: One of several options names a file or a data set, to whose classes no words can be added.
    """
    from ovss.vocabulary.tables import list_vocabularies

    if len(given) == 1:
        return given[0]
    for words in given:
        if words.strip() in list_vocabularies() or Path(words).suffix in (".toml", ".json", ".txt"):
            raise InputError(f"-c '{words}' is a class list of its own; give it alone, or words only")
    return "; ".join(words.strip().strip(";") for words in given)


def _save(found: "Sequence[Segmentation]", stem: Path) -> list[Path]:
    """Write what each method found; where there are several, under their names, with one sheet that shows all."""
    if len(found) == 1:
        return found[0].save(stem)
    from ovss.figures import label_figure
    from ovss.files import atomic_write
    from ovss.lab.outputs import slug

    names = [slug(one.method) for one in found]
    if len(set(names)) < len(names):
        raise InputError(f"methods {', '.join(one.method for one in found)} would write files of the same names")
    written = [path for one, name in zip(found, names, strict=True) for path in one.save(f"{stem}_{name}")]
    sheet = stem.with_name(f"{stem.name}_methods.png")
    figure = label_figure(found[0].image, {one.method: one.labels for one in found}, found[0].classes).figure
    try:
        with atomic_write(sheet) as file:
            figure.savefig(file, format="png")
    except OSError as error:
        raise InputError(f"cannot write '{sheet}': {error.strerror or error}") from error
    return [*written, sheet]


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
