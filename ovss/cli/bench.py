"""`ovss bench`: how long a data set takes on this machine, or what methods cost beside plain `encode_image`."""

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import (
    STARTS_OVER,
    add_device_arguments,
    described,
    fault_to_stderr,
    left_behind,
    method_names,
    note_to_stderr,
    require_positive,
    show,
    write_table,
)
from ovss.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ovss.backbone import Backbone
    from ovss.lab.throughput import Throughput
    from ovss.lab.timing import Timing

__all__ = ["add_command"]

_ROW = "{:28} {:>9} {:>10} {:>9} {:>9} {:>9} {:>9}"


def add_command(commands: Any) -> None:
    """Add `bench`."""
    text = "measure how many images per second this machine evaluates, and where the time goes"
    parser = commands.add_parser("bench", **described(text))
    parser.add_argument("--model", default="ViT-B-16", help="architecture, with random weights (default: ViT-B-16)")
    parser.add_argument("--methods", "--only", dest="methods", nargs="+", default=[], help="methods (default: all)")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="images that are evaluated (default: 8)")
    parser.add_argument(
        "--image-size", default="500x375", metavar="WxH", help="their size in pixels (default: 500x375)"
    )
    parser.add_argument("--classes", type=int, default=21, metavar="N", help="number of classes (default: 21)")
    parser.add_argument(
        "--for",
        type=int,
        default=5000,
        metavar="N",
        help="images of the data set whose hours are told (default: 5000)",
    )
    parser.add_argument("--protocol", help="see 'ovss list protocols' (default: window224; study for tiny)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="windows per backbone pass (default: 16; CUDA 64)")
    parser.add_argument("--no-shared", action="store_true", help="leave out the run of several methods on one pass")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's choice)")
    add_device_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of images and order (default: 0)")
    parser.add_argument("--json", type=Path, help="also write all timings to this file")
    ratios = parser.add_argument_group("beside plain encode_image")
    ratios.add_argument(
        "--ratios", action="store_true", help="measure methods and steps on scores in paired rounds instead"
    )
    ratios.add_argument("--size", type=int, help="pixels of a window's side (default: the model's native size)")
    ratios.add_argument("--windows", type=int, default=4, help="windows per run (default: 4)")
    ratios.add_argument("--rounds", type=int, default=15, help="paired rounds (default: 15)")
    parser.set_defaults(run=_run)


@left_behind(lambda: STARTS_OVER)
def _run(arguments: argparse.Namespace) -> int:
    """Measure and print; returns 0."""
    import torch

    from ovss.backbone import load_backbone

    counts = ("windows", "rounds", "threads", "size", "images", "classes", "for", "batch_size")
    require_positive(arguments, *counts)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    from ovss.methods import resolve_methods

    asked = resolve_methods(method_names(arguments.methods)) if arguments.methods else {}
    size = _image_size(arguments.image_size)
    weights = None if arguments.model == "tiny" else "random"  # time does not depend on them
    backbone = load_backbone(arguments.model, weights, device=arguments.device, dtype=arguments.dtype)
    from ovss.lab.timing import every_method

    every = every_method(backbone)
    runnable = {method.name: method for method in every}
    methods = [runnable.get(label, method) for label, method in asked.items()] or every
    setting = {"model": arguments.model, "device": str(backbone.device), **_versions(backbone)}
    if arguments.ratios:
        document = _ratios(arguments, backbone, methods, every, setting)
    else:
        document = _throughput(arguments, backbone, methods, size, setting)
    if arguments.json is not None:
        write_table(arguments.json, json.dumps(document, indent=1))
    return 0


def _image_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None or not all(map(int, found.groups())):
        raise InputError(f"--image-size '{text}' must be width x height in pixels, as in 500x375")
    return int(found[1]), int(found[2])


def _versions(backbone: "Backbone") -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    return {
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "ovss": version("ovss"),
    }


def _throughput(
    arguments: argparse.Namespace,
    backbone: "Backbone",
    methods: "Sequence[Any]",
    size: tuple[int, int],
    setting: dict[str, Any],
) -> dict[str, Any]:
    """Evaluate made-up images with each method, then with all on one pass, and print each result when it is there."""
    from ovss.lab.throughput import STAGES, made_up_images, memory, text_seconds, throughput
    from ovss.segment import resolve_protocol

    rows: list[Throughput] = []
    planned = getattr(arguments, "for")
    with made_up_images(arguments.images, size, arguments.classes, arguments.seed) as dataset:
        protocol = resolve_protocol(arguments.protocol, backbone).for_dataset(dataset.benchmark, backbone.name)
        setting |= {"protocol": protocol.name, "images": arguments.images, "image_size": arguments.image_size}
        setting |= {"classes": arguments.classes}
        show(", ".join(f"{key} {value}" for key, value in setting.items()))
        sentences, seconds = text_seconds(backbone, dataset, protocol)
        show(f"text: {sentences} sentences in {seconds:.1f} s, once per class list")
        names = ("model", "labels", "input", "counts")
        show(_ROW.format("method", "images/s", f"h for {planned}", *names))
        groups = [(method.label, {method.label: method}) for method in methods]
        if len(methods) > 1 and not arguments.no_shared:
            groups.append((f"{len(methods)} methods, one pass", {method.label: method for method in methods}))
        for name, group in groups:
            try:
                row = throughput(backbone, name, group, dataset, protocol, arguments.batch_size)
            except InputError as error:
                if len(groups) == 1:
                    raise
                fault_to_stderr(f"{name} left out: {error}")
                continue
            total = sum(row.seconds.values())
            shares = [f"{row.seconds[stage] / total:.0%}" for stage in STAGES]
            hours = planned / row.per_second / 3600
            show(_ROW.format(name, f"{row.per_second:.2f}", f"{hours:.2f}", *shares))
            rows.append(row)
        peak = memory(backbone.device)
    show(f"memory: at most {peak / 2**30:.2f} GiB of {'the GPU' if backbone.device.type == 'cuda' else 'this process'}")
    note_to_stderr("shares are of the main thread's time; reading (input) and counting run beside it")
    timings = [{"method": row.name, "images_per_second": row.per_second, "seconds": dict(row.seconds)} for row in rows]
    text = {"sentences": sentences, "seconds": seconds}
    return {"setting": setting, "text": text, "memory_bytes": peak, "throughput": timings}


def _ratios(
    arguments: argparse.Namespace,
    backbone: "Backbone",
    methods: "Sequence[Any]",
    every: "Sequence[Any]",
    setting: dict[str, Any],
) -> dict[str, Any]:
    """Time methods and steps beside plain `encode_image` in paired rounds; prints the table."""
    from ovss.lab.steps import score_steps
    from ovss.lab.timing import measure, smooth_windows, subjects_for, summarise

    size = arguments.size or backbone.image_size
    windows = smooth_windows(arguments.windows, size, arguments.seed).to(backbone.device, backbone.dtype)
    shared = () if arguments.no_shared or arguments.methods else every
    subjects = subjects_for(backbone, methods, windows, shared)
    subjects += [] if arguments.methods else score_steps(backbone, windows)
    setting |= {"size": size, "windows": arguments.windows, "rounds": arguments.rounds}
    show(", ".join(f"{key} {value}" for key, value in setting.items()))
    timings = measure(
        subjects,
        arguments.rounds,
        backbone.device,
        arguments.seed,
        report=lambda number: note_to_stderr(f"round {number} of {arguments.rounds}"),
    )
    table = summarise(timings)
    passes = {subject.name: subject.passes for subject in subjects}
    table["passes"] = [passes[str(subject)] for subject in table["subject"]]
    show(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    return _document(setting, table, timings)


def _document(setting: dict[str, Any], table: "pd.DataFrame", timings: "Sequence[Timing]") -> dict[str, Any]:
    return {
        "setting": setting,
        "summary": table.astype(object).where(table.notna(), None).to_dict(orient="records"),
        "timings": [timing._asdict() for timing in timings],
    }
