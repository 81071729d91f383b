"""`ovss bench`: what each method costs beside plain `encode_image`; the measuring is in `ovss.lab.timing`."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import (
    STARTS_OVER,
    add_device_arguments,
    described,
    left_behind,
    require_positive,
    show,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ovss.lab.timing import Timing

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `bench`."""
    text = "measure what each method and each step on scores costs beside plain encode_image"
    parser = commands.add_parser("bench", **described(text))
    parser.add_argument("--model", default="ViT-B-16", help="architecture, with random weights (default: ViT-B-16)")
    parser.add_argument("--size", type=int, help="pixels of a window's side (default: the model's native size)")
    parser.add_argument("--windows", type=int, default=4, help="windows per run (default: 4)")
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds (default: 15)")
    parser.add_argument("--methods", "--only", dest="methods", help="comma-separated methods (default: all)")
    parser.add_argument("--no-shared", action="store_true", help="leave out the run of several methods on one pass")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's choice)")
    add_device_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of windows and order (default: 0)")
    parser.add_argument("--json", type=Path, help="also write all timings to this file")
    parser.set_defaults(run=_run)


@left_behind(lambda: STARTS_OVER)
def _run(arguments: argparse.Namespace) -> int:
    """Measure and print the table; returns 1 when a bound that is set for this model is passed, else 0."""
    from importlib.metadata import version

    import torch

    from ovss.backbone import load_backbone
    from ovss.lab.steps import score_steps
    from ovss.lab.timing import bound, every_method, measure, smooth_windows, subjects_for, summarise
    from ovss.methods import resolve_methods

    require_positive(arguments, "windows", "rounds", "threads", "size")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    asked = resolve_methods(arguments.methods.split(",")) if arguments.methods else {}
    weights = None if arguments.model == "tiny" else "random"  # time does not depend on them
    backbone = load_backbone(arguments.model, weights, device=arguments.device, dtype=arguments.dtype)
    size = arguments.size or backbone.image_size
    windows = smooth_windows(arguments.windows, size, arguments.seed).to(backbone.device, backbone.dtype)
    every = every_method(backbone)
    runnable = {method.name: method for method in every}
    methods = [runnable.get(label, method) for label, method in asked.items()] or every
    shared = () if arguments.no_shared or arguments.methods else every
    subjects = subjects_for(backbone, methods, windows, shared)
    subjects += [] if arguments.methods else score_steps(backbone, windows)
    timings = measure(subjects, arguments.rounds, backbone.device, arguments.seed)
    table = summarise(timings)
    passes = {subject.name: subject.passes for subject in subjects}
    table["passes"] = [passes[str(subject)] for subject in table["subject"]]
    table["bound"] = [bound(str(subject), backbone, size) for subject in table["subject"]]
    setting = {
        "model": arguments.model,
        "size": size,
        "windows": arguments.windows,
        "rounds": arguments.rounds,
        "device": str(backbone.device),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "ovss": version("ovss"),
    }
    if arguments.json is not None:
        write_table(arguments.json, _as_json(setting, table, timings))
    return _show(setting, table)


def _show(setting: dict[str, Any], table: "pd.DataFrame") -> int:
    """Print setting, table and what is over its bound; returns the exit code."""
    show(", ".join(f"{key} {value}" for key, value in setting.items()))
    show(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    over = table[table["ratio"] > table["bound"].astype(float)]
    late = [f"{row['subject']} {row['ratio']:.3f} > {row['bound']}" for _, row in over.iterrows()]
    if late:
        show(f"over the bound: {'; '.join(late)}")
    return 1 if late else 0


def _as_json(setting: dict[str, Any], table: "pd.DataFrame", timings: "Sequence[Timing]") -> str:
    document = {
        "setting": setting,
        "summary": table.astype(object).where(table.notna(), None).to_dict(orient="records"),
        "timings": [timing._asdict() for timing in timings],
    }
    return json.dumps(document, indent=1)
