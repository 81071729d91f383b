"""What each method costs beside plain `encode_image` on the same windows.

Rounds are interleaved and paired: in each round the plain model and every subject run once on the same windows, so that
whatever slows the machine slows both, and the ratio of a round is what is reported.
"""

import argparse
import json
import random
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ovss.backbone import Backbone, load_backbone
from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.methods import Method, create_method, default_methods

BASELINE = "encode_image"
SHARED = ("clip", "maskclip", "sclip", "clearclip", "naclip", "scclip", "cliptrase", "clipseg_aaai25")
QUERIES = 21
"""Queries of the scores that a refining method names regions with; as many as VOC21 has classes."""
BOUNDS = {
    "maskclip": 1.0,
    "clearclip": 1.0,
    "naclip": 1.0,
    "clip": 1.05,
    "sclip": 1.05,
    "scclip": 1.1,
    "clipseg_aaai25": 1.2,
    "cliptrase": 1.3,
    "gem": 1.6,
    "clip_surgery": 1.6,
    f"{len(SHARED)} methods, one pass": 2.0,
}
"""Largest acceptable ratio at 224 pixels, ViT-B/16."""
CLIPTRASE_336 = 1.15


class Subject(NamedTuple):
    """Something that is timed."""

    name: str
    run: Callable[[], object]


class Timing(NamedTuple):
    """One run of a subject, in seconds."""

    subject: str
    round: int
    wall: float
    cpu: float


def subjects_for(
    backbone: Backbone, methods: Sequence[Method], windows: Tensor, shared: Sequence[Method] = ()
) -> list[Subject]:
    """The plain model, each method alone, and several methods on one pass.

    Args:
        backbone: The model.
        methods: Methods to be timed alone.
        windows: Normalised windows (B, 3, H, W).
        shared: Methods that are timed together on one backbone pass; none are left out.
    """
    generator = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(QUERIES, backbone.embed_dim, generator=generator), dim=-1)
    text = text.to(backbone.device)

    def plain() -> Tensor:
        if windows.shape[-2:] == (backbone.image_size, backbone.image_size):
            return backbone.encode_image(windows)
        return backbone.read_out(backbone.encode_tokens(windows, layers=[backbone.depth]).hidden(backbone.depth)[:, :1])

    def one_pass(group: Sequence[Method]) -> list[Tensor]:
        layers = frozenset().union(*(method.layers(backbone.depth) for method in group))
        tokens = backbone.encode_tokens(windows, layers=layers)
        results = []
        for method in group:
            if method.refines:
                size = (windows.shape[-2], windows.shape[-1])
                refined = method.refine_windows(method.patch_scores(tokens, text), tokens, size)
                results.append(torch.stack([window.full() for window in refined]))
            else:
                results.append(method.patch_embeddings(tokens))
        return results

    alone = [Subject(method.label, lambda method=method: one_pass([method])) for method in methods]
    together = [Subject(f"{len(shared)} methods, one pass", lambda: one_pass(shared))] if shared else []
    return [Subject(BASELINE, plain), *alone, *together]


@torch.inference_mode()
def measure(subjects: Sequence[Subject], rounds: int, device: torch.device, seed: int = 0) -> list[Timing]:
    """Time all subjects in each of several rounds, in an order that changes from round to round.

    Every subject runs once before the first round.
    """
    order, shuffle = list(subjects), random.Random(seed)
    for subject in order:
        subject.run()
    timings = []
    for number in range(rounds):
        shuffle.shuffle(order)
        for subject in order:
            _wait(device)
            wall, cpu = time.perf_counter(), time.process_time()
            subject.run()
            _wait(device)
            timings.append(Timing(subject.name, number, time.perf_counter() - wall, time.process_time() - cpu))
    return timings


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarise(timings: Sequence[Timing], baseline: str = BASELINE) -> pd.DataFrame:
    """Medians and spread.

    Returns:
        A row per subject: median wall and CPU time in milliseconds, and of the ratios to the baseline in the same round
        the median and the quartiles (wall) and the median (CPU).
    """
    frame = pd.DataFrame(timings)
    base = frame[frame["subject"] == baseline].set_index("round")
    rows = []
    for subject, group in frame.groupby("subject", sort=False):
        group = group.set_index("round")
        wall, cpu = group["wall"] / base["wall"], group["cpu"] / base["cpu"]
        rows.append(
            {
                "subject": subject,
                "wall_ms": 1000 * group["wall"].median(),
                "cpu_ms": 1000 * group["cpu"].median(),
                "ratio": wall.median(),
                "ratio_low": wall.quantile(0.25),
                "ratio_high": wall.quantile(0.75),
                "cpu_ratio": cpu.median(),
            }
        )
    return pd.DataFrame(rows).sort_values("ratio", ignore_index=True)


def bound(subject: str, backbone: Backbone, size: int) -> float | None:
    """Largest acceptable ratio of a subject, where one is set for this model and size."""
    if backbone.patch_size != 16 or backbone.depth != 12:
        return None
    if size == 336 and subject == "cliptrase":
        return CLIPTRASE_336
    return BOUNDS.get(subject) if size == 224 else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--model", default="ViT-B-16", help="architecture, with random weights (default: ViT-B-16)")
    parser.add_argument("--size", type=int, help="pixels of a window's side (default: the model's native size)")
    parser.add_argument("--windows", type=int, default=4, help="windows per run (default: 4)")
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds (default: 15)")
    parser.add_argument("--methods", "--only", dest="methods", help="comma-separated methods (default: all)")
    parser.add_argument("--no-shared", action="store_true", help="leave out the run of several methods on one pass")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's choice)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16, bfloat16 (default: auto)")
    parser.add_argument("--seed", type=int, default=0, help="seed of windows and order (default: 0)")
    parser.add_argument("--json", type=Path, help="also write all timings to this file")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table; returns 1 when a bound that is set for this model is passed, else 0."""
    for name in ("windows", "rounds", "threads", "size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value} must be at least 1")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    methods = _methods(arguments.methods)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*random weights")
        backbone = load_backbone(arguments.model, device=arguments.device, dtype=arguments.dtype)
    size = arguments.size or backbone.image_size
    windows = smooth_windows(arguments.windows, size, arguments.seed).to(backbone.device, backbone.dtype)
    shared = () if arguments.no_shared or arguments.methods else tuple(create_method(name) for name in SHARED)
    subjects = subjects_for(backbone, methods, windows, shared)
    timings = measure(subjects, arguments.rounds, backbone.device, arguments.seed)
    table = summarise(timings)
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
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    if arguments.json is not None:
        _write(arguments.json, setting, table, timings)
    over = table[table["ratio"] > table["bound"].astype(float)]
    late = [f"{row['subject']} {row['ratio']:.3f} > {row['bound']}" for _, row in over.iterrows()]
    if late:
        print(f"over the bound: {'; '.join(late)}")
    return 1 if late else 0


def smooth_windows(count: int, size: int, seed: int) -> Tensor:
    """Random windows with structure at several scales (N, 3, size, size), so that clusters form as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, size, size)
    for cells in (2, 4, 8, 32):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        total += torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear") / cells**0.5
    return total


def _methods(names: str | None) -> list[Method]:
    chosen = names.split(",") if names else default_methods()
    return [create_method(name.strip()) for name in chosen]


def _write(path: Path, setting: dict[str, Any], table: pd.DataFrame, timings: Sequence[Timing]) -> None:
    document = {
        "setting": setting,
        "summary": table.astype(object).where(table.notna(), None).to_dict(orient="records"),
        "timings": [timing._asdict() for timing in timings],
    }
    with atomic_write(path, "w") as file:
        json.dump(document, file, indent=1)
