"""Options that several commands share."""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ovss.backbone import Backbone, load_backbone
from ovss.errors import Terminated, printable

TINY_NOTE = (
    "note: 'tiny' was trained on drawn scenes only; on photographs its labels mean nothing. "
    "Give --model ViT-B-16 --pretrained openai (or a checkpoint file) for real CLIP."
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model."""
    parser.add_argument(
        "--model", default="tiny", help="'tiny', an open_clip architecture, or hf-hub:... (default: tiny)"
    )
    parser.add_argument("--pretrained", help="open_clip tag (openai, ...), checkpoint file, or TAG=FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16 (default: auto)")


def backbone_from(arguments: argparse.Namespace) -> Backbone:
    """The model that the options of `add_model_arguments` name."""
    return load_backbone(arguments.model, arguments.pretrained, device=arguments.device, dtype=arguments.dtype)


def say(text: str) -> None:
    """A line for the person at the terminal, apart from results."""
    print(printable(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result on standard output; what stands in names is shown, never obeyed by the terminal."""
    print(printable(text))


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
