"""What a part of the model does for segmentation: mIoU without it, on the same images, from the same prefix of a pass.

Hidden states below a changed block are those of the untouched pass, which is kept for a few images at a time.
"""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch

from ovss.analysis.causal.parts import Given, Part, resolve_parts
from ovss.analysis.causal.playing import UNTOUCHED, Run
from ovss.backbone import Backbone, backbone_from
from ovss.datasets import Dataset, load_dataset
from ovss.errors import InputError
from ovss.evaluation.checks import image_count, words_of
from ovss.evaluation.identity import run_key
from ovss.evaluation.job import Job
from ovss.evaluation.records import make_folder, write_bytes
from ovss.files import only_run
from ovss.files.tables import to_csv
from ovss.methods import Method, resolve_methods
from ovss.methods.tuned import under_protocol
from ovss.metrics.intervals import of_means
from ovss.metrics.resampling import Resampler, seen_once
from ovss.metrics.significance import holm, permutation_test
from ovss.protocols import Protocol
from ovss.provenance.outside_code import outside_code
from ovss.segment import resolve_protocol

__all__ = ["SHARD_SIZE", "ablate"]

SHARD_SIZE = 8
"""Images whose hidden states are held at a time."""
_BATCH_SIZE = 64
_PERMUTATIONS = 2000


@torch.inference_mode()
def ablate(
    backbone: Backbone | str,
    method: str | Method,
    dataset: str | Dataset,
    parts: str | Iterable[str | Part] | Mapping[str, Given] = "heads",
    *,
    how: str = "zero",
    protocol: str | Protocol | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    first: int = 0,
    batch_size: int = _BATCH_SIZE,
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Change of mIoU when parts of the model are taken out, one after the other, on the same images.

    Args:
        backbone: A model from `load_backbone`, or its name. It is left as it is: no parameter is written, no hook set.
        method: The method that reads the changed passes.
        dataset: A data set from `load_dataset`, or its name.
        parts: "heads", "attention" or "ffn" for all of a kind; or single ones, as `Part` or in words ("block 3 head 2
            zero", "block 4 neurons 7,9"); or a dictionary label -> part or parts, which are changed together.
        how: "zero", "mean" or "swap" where `parts` names a whole kind; see `Part`. Images are swapped within a shard:
            each takes from the next, window by window, and the last from the first.
        protocol: See `ovss.evaluate`; windows must be apart.
        out: Folder for counts per part and shard, and `atlas.csv`. An interrupted run goes on there; what was made with
            another model, method, protocol, vocabulary, data set or code is not used. `atlas.csv` is what the last call
            returned. None keeps all in memory.
        limit: Number of images, from `first` on; None takes all.
        first: Number of the first image, so that what was chosen on some images can be measured on others.
        batch_size: Windows per pass.
        shard_size: Images whose hidden states are held at a time; what an interruption costs is one part on these.
        seed: Of the intervals and tests.
        progress: Whether to show a progress bar.

    Returns:
        A row per part: part, kind ("joint" for several), block, head, channel, how, images, untouched and mIoU in
        percent, change in points (mIoU - untouched) with its paired 95 % interval low and high over images (NaN for
        fewer than ten), p of a paired permutation test, p_holm corrected over the parts of a kind, and the key of the
        run. An intervention that changes nothing has a change of exactly 0.

    Example:
        >>> import ovss
        >>> from ovss.analysis.causal import ablate
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> found = ablate(backbone, "maskclip", "scenes", ["block 8 head 3", "block 8 ffn"], limit=4)
        >>> found[["part", "untouched", "change"]].round(1)
                          part  untouched  change
        0  block 8 head 3 zero       61.3    -6.7
        1     block 8 ffn zero       61.3     0.0

    Raises:
        InputError: Unknown names, a part that the model does not have, swapping where an image has no other with
            windows of its size, a protocol whose windows are shared, a folder that cannot be written.
    """
    if batch_size < 1 or shard_size < 1:
        raise InputError(f"batch_size={batch_size} and shard_size={shard_size} must be at least 1")
    backbone = backbone_from(backbone)
    dataset = load_dataset(dataset) if isinstance(dataset, str) else dataset
    every = image_count(dataset, None if limit is None else first + limit)
    if not 0 <= first < every:
        raise InputError(f"first={first} is outside 0..{every - 1}, the images of '{dataset.name}'")
    images = range(first, every)
    rules = resolve_protocol(protocol, backbone).for_dataset(dataset.benchmark, backbone.name)
    if rules.windows == "shared" or rules.lposs_iterations:
        raise InputError(f"protocol '{rules.name}' lets windows share; parts are changed window by window only")
    chosen = {label: under_protocol(one, rules) for label, one in resolve_methods([method]).items()}
    if any(one.uses_companion for one in chosen.values()):
        raise InputError(f"method '{next(iter(chosen))}' also reads a second network; parts of it cannot be told apart")
    job = Job(chosen, words_of(dataset, rules, None), rules, dataset, batch_size, shard_size)
    named = resolve_parts(parts, backbone, how)
    if len(images) < 2 and any(part.how == "swap" for several in named.values() for part in several):
        raise InputError("how='swap' needs at least two images")
    folder = None if out is None else Path(out)
    if folder is not None:
        make_folder(folder / "records")
    with nullcontext() if folder is None else only_run(folder, folder / "records" / ".lock"):
        key = run_key(job, backbone, backbone.device.type, outside_code(chosen, needed=folder is not None))
        run = Run(job, backbone, images, key, named, folder)
        run.finish(progress)
        found = _table(run, seed)
        if folder is not None:
            write_bytes(folder / "atlas.csv", to_csv(found, decimals=5).encode())
    return found


def _table(run: Run, seed: int) -> pd.DataFrame:
    """See `ablate`."""
    rule, base = run.job.protocol.metric, run.counts(UNTOUCHED)
    resampler = Resampler(len(run.images), seed=seed)
    before, once = resampler.replicates(base, rule)[0], seen_once(base)
    permutations = max(_PERMUTATIONS, 40 * len(run.named))
    rows = []
    for label, several in run.named.items():
        changed, part = run.counts(label), several[0] if len(several) == 1 else None
        after = resampler.replicates(changed, rule)[0]
        change = of_means(after - before, once)
        rows.append(
            {
                "part": label,
                "kind": part.kind if part else "joint",
                "block": part.block if part else None,
                "head": part.head if part else None,
                "channel": part.channel if part else None,
                "how": part.how if part else " ".join(sorted({one.how for one in several})),
                "images": len(run.images),
                "untouched": before.estimate[0],
                "mIoU": after.estimate[0],
                "change": change.mean[0],
                "low": change.low[0],
                "high": change.high[0],
                "p": permutation_test(base, changed, rule, permutations=permutations, seed=seed)[1],
            }
        )
    frame = pd.DataFrame(rows).astype(dict.fromkeys(("block", "head", "channel"), "Int64"))
    frame["p_holm"] = frame.groupby("kind")["p"].transform(lambda p: holm(p.to_numpy()))
    return frame.assign(key=run.key)
