"""`ovss doctor`: does this installation work, and does it read a model as the model reads itself?"""

import argparse
import platform
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from ovss.cli.common import described, show
from ovss.errors import InputError

__all__ = ["add_command"]

_BOUND = 1e-5
"""Largest error of a model that is read right, as a share of the largest value."""


def add_command(commands: Any) -> None:
    """Add `doctor`."""
    parser = commands.add_parser("doctor", **described("check this installation"))
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="check instead that this model is read right, with random weights or those of its repository",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print one line per check; returns 0 when all required ones pass, else 1."""
    if arguments.model is not None:
        return _check_model(arguments.model)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: platform.python_version()),
        ("packages", _packages),
        ("device", _device),
        ("cache", _cache),
        ("tiny", _tiny),
        ("segment", _segment),
    ]
    failed = 0
    for name, check in checks:
        try:
            show(f"[OK]   {name}: {check()}")
        except (InputError, OSError, ImportError, RuntimeError) as error:
            failed += 1
            show(f"[FAIL] {name}: {error}")
    for extra, module, purpose in (("cluster", "distributed", "Dask clusters"), ("app", "voila", "the playground")):
        there = find_spec(module) is not None
        show(f"[{'OK' if there else '--'}]   extra {extra}: {'installed' if there else f'not installed ({purpose})'}")
    return 1 if failed else 0


def _check_model(name: str) -> int:
    """Compare what is read of a model with its own `encode_image`; returns 0 where they agree within the bound."""
    from ovss.backbone import conformance
    from ovss.backbone.conform import tower_to_check

    start = time.perf_counter()
    backbone = tower_to_check(name)
    show(f"[OK]   read: {backbone}")
    about = {
        "pooled": "the image embedding recomposed from the blocks, against encode_image",
        "one_hot": "the dense feature of a patch, against encode_image of that patch alone",
    }
    errors = conformance(backbone)
    for key, error in errors.items():
        show(f"[{'OK' if error <= _BOUND else 'FAIL'}]   {key}: {error:.1e}, at most {_BOUND:.0e}: {about[key]}")
    weights, seconds = "random" if backbone.is_random else "its own", time.perf_counter() - start
    show(f"       {weights} weights, float32 on the CPU, {seconds:.1f} s")
    return 0 if all(error <= _BOUND for error in errors.values()) else 1


def _packages() -> str:
    names = ("torch", "torchvision", "open_clip_torch", "numpy", "pandas", "papermill", "jupyterlab")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.get_num_threads()} threads)"


def _cache() -> str:
    from ovss.files import atomic_write, cache_dir

    probe = cache_dir() / ".doctor"
    with atomic_write(probe) as file:
        file.write(b"ovss")
    probe.unlink()
    return str(cache_dir())


def _tiny() -> str:
    import json

    from ovss import tiny
    from ovss.files import file_digest

    recorded = json.loads(tiny.RECORD.read_text(encoding="utf-8"))["weights"]["sha256"]
    if file_digest(tiny.WEIGHTS) != recorded:
        raise InputError(
            f"'{tiny.WEIGHTS}' is not the file that its record {tiny.RECORD.name} describes; reinstall ovss"
        )
    return f"weights intact ({recorded[:12]})"


def _segment() -> str:
    import ovss

    start = time.perf_counter()
    dataset = ovss.load_dataset("scenes")
    segmenter = ovss.Segmenter(ovss.load_backbone("tiny"), "naclip", "scenes")
    sample = dataset[0]
    agreement = float((segmenter(sample.image).labels == sample.labels).mean())
    return f"a drawn scene labelled with {agreement:.0%} of pixels right in {time.perf_counter() - start:.1f} s"
