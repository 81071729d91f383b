"""What a study would do, what it lacks, and about how long it would take, without doing it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovss.errors import InputError
from ovss.study.config import ModelSpec, StudyConfig
from ovss.study.plan import Task

PICTURE = (375, 500)
"""Height and width assumed of images that are not there to look at."""
METHOD_SHARE = 0.1
"""Share of a backbone pass that one more method adds."""
EFFICIENCY = 0.4
"""Share of a matrix product's speed that a transformer reaches."""


@dataclass
class Shape:
    """Sizes of a vision transformer, as far as cost and protocols depend on them."""

    name: str
    image_size: int
    patch_size: int
    depth: int
    width: int

    def flops(self, tokens: int) -> float:
        """Floating-point operations of one pass over so many tokens: projections and FFN, then attention."""
        return self.depth * (24.0 * tokens * self.width**2 + 4.0 * tokens**2 * self.width)


def describe_plan(config: StudyConfig, tasks: Sequence[Task]) -> tuple[str, bool]:
    """List tasks, weights, data and an estimate of the time.

    Args:
        config: The study.
        tasks: From `plan_study`.

    Returns:
        The text, and whether everything that the tasks need is there.
    """
    models = {spec: _weights(spec) for spec in config.models}
    data = {spec: _data(spec.name, spec.root, spec.split) for spec in config.datasets}
    speed = _speed()
    lines, total, unknown = (
        [f"study '{config.name}': {len(tasks)} notebooks, {len(config.methods)} methods", ""],
        0.0,
        0,
    )
    width = max(len(task.id) for task in tasks)
    for task in tasks:
        try:
            seconds = _seconds(config, task, data[task.dataset][1] if task.dataset else 0, speed)
            words = "a few pictures at most" if seconds is None else f"about {_duration(seconds)}"
            total += seconds or 0.0
        except InputError as error:
            words, unknown = f"cannot run: {error}", unknown + 1
        lines.append(f"  {task.id:<{width}}  {words}")
    missing = [told for told, there in models.values() if not there]
    missing += [told for told, count in data.values() if not count]
    lines += ["", "weights:", *(f"  {told}" for told, _ in models.values())]
    lines += ["data:", *(f"  {told}" for told, _ in data.values()), ""]
    lines.append(
        f"backbone passes take about {_duration(total)} on this machine ({speed / 1e9:.0f} GFLOP/s in float32); "
        "ablations repeat parts of them"
    )
    lines.append(f"{len(missing)} missing, {unknown} impossible" if missing or unknown else "nothing is missing")
    return "\n".join(lines), not missing and not unknown


def _weights(spec: ModelSpec) -> tuple[str, bool]:
    import open_clip

    if spec.model == "tiny" and not spec.pretrained:
        return "[OK]      tiny (comes with the package)", True
    tag, _, path = spec.pretrained.partition("=")
    path = path or (tag if Path(tag).suffix else "")
    if path:
        there = Path(path).is_file()
        return f"{'[OK]     ' if there else '[MISSING]'} {spec.label}: file '{path}'", there
    settings = open_clip.get_pretrained_cfg(spec.model.replace("/", "-"), tag) if tag else {}
    if not settings:
        return f"[UNKNOWN] {spec.label}: open_clip has no such tag", False
    there = _is_cached(settings)
    return f"{'[OK]     ' if there else '[MISSING]'} {spec.label}{'' if there else ': would be downloaded'}", there


def _is_cached(settings: dict[str, Any]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    url, hub = settings.get("url", ""), settings.get("hf_hub", "").strip("/")
    if url and (Path.home() / ".cache" / "clip" / Path(url).name).is_file():
        return True
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return bool(hub) and any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)


def _data(name: str, root: str, split: str) -> tuple[str, int]:
    from ovss.datasets import load_dataset

    try:
        count = len(load_dataset(name, root=root or None, split=split))
        return f"[OK]      {name} {split}: {count} images", count
    except InputError as error:
        return f"[MISSING] {name} {split}: {error}", 0


def _seconds(config: StudyConfig, task: Task, images: int, speed: float) -> float | None:
    """Time of the backbone passes of a task; None where it makes none over a data set."""
    if task.model is None or task.dataset is None or "limit" not in task.parameters:
        return None
    from ovss.datasets import BENCHMARKS
    from ovss.protocols import load_protocol

    shape = _shape(task.model)
    name = task.dataset.name
    protocol = load_protocol(task.parameters.get("protocol", config.protocols[0])).for_dataset(name, shape.name)
    windows, side = _windows(protocol.geometry(shape))
    images = images or max(BENCHMARKS[name].counts, default=0) if name in BENCHMARKS else images
    limit = task.parameters.get("limit", 0)
    images = min(images, limit) if limit else images
    methods = len(task.parameters.get("methods", ())) or 1
    tokens = 1 + (side[0] // shape.patch_size) * (side[1] // shape.patch_size)
    passes = images * windows * shape.flops(tokens)
    return passes * (1 + METHOD_SHARE * methods) / (speed * EFFICIENCY)


def _shape(spec: ModelSpec) -> Shape:
    import open_clip

    from ovss import tiny
    from ovss.backbone.loading import register_tiny

    register_tiny()
    settings = open_clip.get_model_config(tiny.ARCHITECTURE if spec.model == "tiny" else spec.model.replace("/", "-"))
    vision = (settings or {}).get("vision_cfg", {})
    if not {"width", "layers", "patch_size", "image_size"} <= set(vision):
        raise InputError(f"model '{spec.model}' is no vision transformer of open_clip")
    return Shape(spec.model, vision["image_size"], vision["patch_size"], vision["layers"], vision["width"])


def _windows(geometry: Any) -> tuple[int, tuple[int, int]]:
    """Windows of an image of the usual format, and the size of one."""
    from ovss.segment.windows import axis_windows, resized_size

    if geometry.crop:
        return 1, (geometry.crop, geometry.crop)
    width, height = resized_size(
        PICTURE[1], PICTURE[0], geometry.short_side, geometry.max_long_side, geometry.size_rule
    )
    axes = [axis_windows(size, geometry.window, geometry.stride) for size in (height, width)]
    return len(axes[0].starts) * len(axes[1].starts), (axes[0].window, axes[1].window)


def _speed() -> float:
    """Floating-point operations per second of a large matrix product here."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.ones(1024, 1024, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
