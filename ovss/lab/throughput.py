"""How long a data set takes: the evaluation itself, on images made up for the purpose, stage by stage."""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from PIL import Image

from ovss.backbone import Backbone
from ovss.datasets import Dataset, load_dataset
from ovss.evaluation import evaluate
from ovss.lab.timing import smooth_windows
from ovss.methods import Method
from ovss.protocols import Protocol
from ovss.vocabulary import embed_vocabulary

__all__ = ["STAGES", "Throughput", "made_up_images", "memory", "text_seconds", "throughput"]

STAGES = ("backbone and methods", "labels", "waiting for input", "waiting for counts")
"""What the main thread of an evaluation spends its time on; reading and counting run beside it."""


class Throughput(NamedTuple):
    """What an evaluation took.

    Attributes:
        name: Label of the method, or how many share the pass.
        images: How many were evaluated.
        seconds: By stage.
    """

    name: str
    images: int
    seconds: Mapping[str, float]

    @property
    def per_second(self) -> float:
        """Images per second."""
        return self.images / sum(self.seconds.values())


@contextmanager
def made_up_images(count: int, size: tuple[int, int], classes: int, seed: int) -> Iterator[Dataset]:
    """A data set of JPEG files with structure at several scales and random masks, there as long as the block runs.

    The cache of text embeddings is another one meanwhile, so that made-up words do not stay in it.

    Args:
        count: Number of images.
        size: Width and height in pixels.
        classes: Number of classes, called "thing 1" and so on.
        seed: Of images and masks.
    """
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="ovss-bench-") as name:
        folder = Path(name)
        for part in ("images", "masks", "cache"):
            (folder / part).mkdir()
        (folder / "classes.txt").write_text("".join(f"thing {number + 1}\n" for number in range(classes)))
        for number in range(count):
            window = smooth_windows(1, max(size), seed + number)[0, :, : size[1], : size[0]]
            pixels = (window * 40 + 128).clamp(0, 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / "images" / f"{number:05d}.jpg", quality=92)
            blocks = generator.integers(0, min(classes, 255), (8, 8), dtype=np.uint8)
            mask = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
            mask.save(folder / "masks" / f"{number:05d}.png")
        before = os.environ.get("OVSS_CACHE")
        os.environ["OVSS_CACHE"] = str(folder / "cache")
        try:
            yield load_dataset("folder", folder)
        finally:
            os.environ.pop("OVSS_CACHE")
            if before is not None:
                os.environ["OVSS_CACHE"] = before


def text_seconds(backbone: Backbone, dataset: Dataset, protocol: Protocol) -> tuple[int, float]:
    """Number of sentences of a data set under a protocol, and the seconds that embedding them takes, once."""
    vocabulary = protocol.vocabulary(dataset.vocabulary_name)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of words that the model has never seen
        embed_vocabulary(backbone, vocabulary)
    return len(vocabulary.queries) * len(vocabulary.templates), time.perf_counter() - start


def throughput(
    backbone: Backbone,
    name: str,
    methods: Mapping[str, Method],
    dataset: Dataset,
    protocol: Protocol,
    batch_size: int | None = None,
) -> Throughput:
    """Evaluate methods on a data set and say what it took; a first image, which warms up, is not counted.

    Args:
        backbone: The model.
        name: What the result is called.
        methods: Methods by label, on one pass.
        dataset: From `made_up_images`.
        protocol: Resolved or not.
        batch_size: Windows per backbone pass; None as in `evaluate`.

    Raises:
        InputError: The method does not run on this model or under this protocol.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        evaluate(backbone, methods, dataset, protocol=protocol, limit=1, batch_size=batch_size)
        found = evaluate(backbone, methods, dataset, protocol=protocol, batch_size=batch_size)
    return Throughput(name, len(found.ids), {stage: found.seconds.get(stage, 0.0) for stage in STAGES})


def memory(device: torch.device) -> int:
    """Largest amount of memory so far in bytes: of a GPU what torch has taken, otherwise of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
