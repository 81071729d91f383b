"""What several commands share: the options of a model and of a data set, and how lines reach the terminal."""

import argparse
import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.errors import InputError, Terminated, printable

if TYPE_CHECKING:
    from ovss.backbone import Backbone, Companion
    from ovss.datasets import Dataset

__all__ = [
    "STARTS_OVER",
    "add_companion_argument",
    "add_device_arguments",
    "add_model_arguments",
    "add_windows_argument",
    "backbone_from",
    "bars",
    "companion_from",
    "described",
    "fault_to_stderr",
    "left_behind",
    "method_names",
    "model_options",
    "note_on_weights",
    "note_to_stderr",
    "open_dataset",
    "require_positive",
    "set_verbosity",
    "show",
    "terminable",
    "write_table",
]

STARTS_OVER = "nothing was written; the same command starts over"
"""What `left_behind` says of a command that writes its results at the end."""
_verbosity = 0
"""1 with --verbose, -1 with --quiet."""
_TINY_NOTE = (
    "note: 'tiny' was trained on drawn scenes only; on photographs its labels mean nothing. "
    "Give --model ViT-B-16 --pretrained openai (or a checkpoint file) for real CLIP."
)


def described(text: str) -> dict[str, str]:
    """The line of a command in the list of all, and the sentence above its options, for `add_parser`."""
    return {"help": text, "description": f"{text[0].upper()}{text[1:]}."}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model."""
    parser.add_argument(
        "--model", default="tiny", help="see 'ovss list models'; or a repository of the hub, or local-dir:FOLDER"
    )
    parser.add_argument("--pretrained", help="open_clip tag (openai, ...), checkpoint file, TAG=FILE, or random")
    parser.add_argument("--activation", help="gelu or quickgelu, where a checkpoint file without a tag cannot tell")
    add_device_arguments(parser)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose where the model runs, and in which number format."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16 (default: auto)")


def add_windows_argument(parser: argparse.ArgumentParser) -> None:
    """The option that lets windows share their attention."""
    text = "shared: attention of the last block crosses the borders of windows (default: what the protocol says)"
    parser.add_argument("--windows", choices=("apart", "shared"), help=text)


def add_companion_argument(parser: argparse.ArgumentParser) -> None:
    """Option that chooses a second network beside the model."""
    parser.add_argument(
        "--companion",
        metavar="NAME=WEIGHTS",
        help="second network for proxyclip: a plain ViT of timm with its file, or an open_clip tower (default: CLIP)",
    )


def companion_from(arguments: argparse.Namespace, backbone: "Backbone") -> "Companion | None":
    """The second network that the option names, on the device of the model; None without one."""
    from ovss.backbone.companion import parse_companion

    return parse_companion(arguments.companion, backbone.device) if arguments.companion else None


def backbone_from(arguments: argparse.Namespace) -> "Backbone":
    """The model that the options of `add_model_arguments` name."""
    from ovss.backbone import load_backbone

    return load_backbone(**model_options(arguments))


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `load_backbone` that the options of `add_model_arguments` stand for."""
    return {name: getattr(arguments, name) for name in ("model", "pretrained", "activation", "device", "dtype")}


def note_on_weights(backbone: "Backbone", drawn: bool = False) -> None:
    """Say so where the labels of a model mean nothing: with random weights, or of "tiny" on other than drawn scenes."""
    if backbone.is_random:
        note_to_stderr("note: the weights are random; labels and scores mean nothing")
    elif backbone.is_tiny and not drawn:
        note_to_stderr(_TINY_NOTE)


def open_dataset(arguments: argparse.Namespace, name: str, split: str) -> "Dataset":
    """A data set at the folder, with the class file and the mask encoding that options name, where there are such."""
    from ovss.datasets import load_dataset

    given = {key: getattr(arguments, key, None) for key in ("images", "masks", "classes", "encoding")}
    return load_dataset(name, arguments.root, split, **{key: value for key, value in given.items() if value})


def method_names(words: Sequence[str]) -> list[str]:
    """Methods as options give them, separated by spaces or commas; commas within parentheses belong to a method.

    Example:
        >>> method_names(["clip,naclip(sigma=2, omega=False)", "sclip"])
        ['clip', 'naclip(sigma=2, omega=False)', 'sclip']
    """
    parts = [part.strip() for word in words for part in re.split(r",(?![^()]*\))", word)]
    return [part for part in parts if part]


def require_positive(arguments: argparse.Namespace, *names: str) -> None:
    """Make sure that options which were given are at least 1.

    Raises:
        InputError: Names the first that is not.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value} must be at least 1")


def set_verbosity(arguments: argparse.Namespace) -> None:
    """Take over --quiet and --verbose from the parsed command line."""
    global _verbosity
    _verbosity = getattr(arguments, "verbose", False) - getattr(arguments, "quiet", False)


def bars() -> bool:
    """Whether to show progress bars: on a terminal, or with --verbose; never with --quiet."""
    return _verbosity > 0 or (_verbosity == 0 and sys.stderr.isatty())


def note_to_stderr(text: str) -> None:
    """A line for the person at the terminal, apart from results; none with --quiet."""
    if _verbosity >= 0:
        print(printable(text), file=sys.stderr, flush=True)


def fault_to_stderr(text: str) -> None:
    """A line about something that failed or was left out, which --quiet shows, too."""
    print(printable(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result on standard output; control characters in names are shown, so the terminal does not obey them."""
    print(printable(text), flush=True)


def write_table(path: Path, text: str) -> None:
    """A table as a file that appears whole or not at all.

    Raises:
        InputError: The file cannot be written; an earlier one of that name is untouched.
    """
    from ovss.files import atomic_write

    try:
        with atomic_write(path, "w", newline="") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror or error}") from error


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, which batch systems send before they kill, end the work as Ctrl-C does.

    Raises:
        Terminated: The signal came.
    """

    def stop(number: int, frame: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def left_behind(describe: Callable[[], str]) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends the work, have the command line say what is left of it and how it is resumed.

    Args:
        describe: The sentence, asked for at that moment; what the work itself said comes first.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = stop.args or (describe(),)
        raise
