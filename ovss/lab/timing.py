"""What each method costs beside plain `encode_image` on the same windows.

Rounds are interleaved and paired: in each round the plain model and every subject run once on the same windows, so that
whatever slows the machine slows both, and the ratio of a round is what is reported.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ovss.backbone import Backbone
from ovss.ingredients import OPENAI_CHANNELS
from ovss.methods import Method, create_method, list_methods

__all__ = [
    "BASELINE",
    "QUERIES",
    "Subject",
    "Timing",
    "every_method",
    "measure",
    "smooth_windows",
    "subjects_for",
    "summarise",
]

BASELINE = "encode_image"
QUERIES = 21
"""Queries of the scores that a refining method names regions with; as many as VOC21 has classes."""
_LEFT_OUT = ("compose", "registers")


class Subject(NamedTuple):
    """Something that is timed, and how many backbone passes it takes."""

    name: str
    run: Callable[[], object]
    passes: int = 1


class Timing(NamedTuple):
    """One run of a subject, in seconds."""

    subject: str
    round: int
    wall: float
    cpu: float


def every_method(backbone: Backbone) -> list[Method]:
    """Every method but `compose`, with what it needs to run on any weights.

    `registers` is left out: its neurons are found on images, for weights that have outlier tokens.

    Args:
        backbone: The model; RF-CLIP's massive channels are those of OpenAI's weights of its size, or any, since which
            they are changes the work only where patches are distracted.
    """
    channels = OPENAI_CHANNELS.get((backbone.depth, backbone.width, backbone.patch_size), (0, 1, 2, 3))
    needed = {"rfclip": {"channels": channels}}
    return [create_method(name, **needed.get(name, {})) for name in list_methods() if name not in _LEFT_OUT]


def subjects_for(
    backbone: Backbone, methods: Sequence[Method], windows: Tensor, shared: Sequence[Method] = ()
) -> list[Subject]:
    """The plain model, each method alone, and several methods on one pass.

    Args:
        backbone: The model.
        methods: Methods to be timed alone.
        windows: Normalised windows (B, 3, H, W).
        shared: Methods that are timed together on one backbone pass, beside which an intervened one runs where a method
            has a pass of its own; none are left out.
    """
    generator = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(QUERIES, backbone.embed_dim, generator=generator), dim=-1)
    text = text.to(backbone.device)

    def plain() -> Tensor:
        if windows.shape[-2:] == backbone.native_size:
            return backbone.encode_image(windows)
        return backbone.encode_tokens(windows, layers=[backbone.depth]).image_embedding()

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

    alone = [Subject(method.label, lambda method=method: one_pass([method]), 1 + method.own_pass) for method in methods]
    passes = 1 + sum(method.own_pass for method in shared)
    together = [Subject(f"{len(shared)} methods, one pass", lambda: one_pass(shared), passes)] if shared else []
    return [Subject(BASELINE, plain), *alone, *together]


@torch.inference_mode()
def measure(
    subjects: Sequence[Subject],
    rounds: int,
    device: torch.device,
    seed: int = 0,
    report: Callable[[int], object] = lambda number: None,
) -> list[Timing]:
    """Time all subjects in each of several rounds, in an order that changes from round to round.

    Every subject runs once before the first round.

    Args:
        subjects: What is timed.
        rounds: How often.
        device: Where it runs.
        seed: Of the orders.
        report: Called with the number of each round that is done.
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
        report(number + 1)
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


def smooth_windows(count: int, size: int, seed: int) -> Tensor:
    """Random windows with structure at several scales (N, 3, size, size), so that clusters form as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, size, size)
    for cells in (2, 4, 8, 32):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        total += torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear") / cells**0.5
    return total
