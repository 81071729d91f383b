"""Window border error of methods on a data set, with windows apart or shared."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ovss.backbone import Backbone
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.methods import Method, resolve_methods
from ovss.methods.tuned import under_protocol
from ovss.metrics import border_counts, border_error
from ovss.metrics.resampling import RESAMPLES
from ovss.protocols import Protocol
from ovss.segment import resolve_protocol
from ovss.segment.scorer import Scorer
from ovss.segment.windows import border_pairs

_ENDS = (2.5, 97.5)


@torch.inference_mode()
def border_records(
    backbone: Backbone,
    methods: str | Method | Sequence[str | Method] | Mapping[str, str | Method],
    dataset: Dataset,
    *,
    protocol: str | Protocol | None = None,
    windows: str | None = None,
    limit: int | None = None,
) -> dict[str, np.ndarray]:
    """Pairs of neighbouring pixels across window borders and inside windows, per method and image.

    Args:
        backbone: The model.
        methods: See `ovss.evaluate`.
        dataset: Images and ground truth.
        protocol: See `ovss.evaluate`; one that crops is refused.
        windows: See `ovss.evaluate`.
        limit: Number of images, from the first one; None takes all.

    Returns:
        int64 (images, 2, 2) per label; see `ovss.metrics.border_counts`.

    Raises:
        InputError: Unknown names, a method that cannot share windows, a protocol that crops.
    """
    rules = resolve_protocol(protocol, backbone, windows).for_dataset(dataset.benchmark, backbone.name)
    if rules.crop is not None:
        raise InputError(f"protocol '{rules.name}' crops images to one window, which has no borders")
    chosen = {label: under_protocol(method, rules) for label, method in resolve_methods(methods).items()}
    words = rules.vocabulary(dataset.vocabulary_name)
    scorer = Scorer(backbone, chosen, words, rules)
    records: dict[str, list[np.ndarray]] = {label: [] for label in chosen}
    for index in range(len(dataset) if limit is None else min(limit, len(dataset))):
        sample = dataset[index]
        image = scorer.prepare(sample.image)
        rows, columns = (border_pairs(*pair) for pair in zip((image.rows, image.columns), image.size, strict=True))
        for label, scores in scorer.score([image])[0].items():
            found = scores.labels()
            classes = len(words.classes)
            records[label].append(
                border_counts(found, sample.labels, classes, rows=rows, columns=columns, void=dataset.void)
            )
    return {label: np.stack(counts) for label, counts in records.items()}


def border_change(apart: np.ndarray, shared: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Relative change of the window border error when windows share, in percent, paired over images.

    Args:
        apart: Records (images, 2, 2) with windows apart.
        shared: Records of the same images with shared windows.
        resamples: Number of bootstrap resamples of images.
        seed: Of the draws.

    Returns:
        (2, 3): estimate, lower and upper end of the 95 % percentile interval; of the share of pairs across borders that
        change label, and of its excess over that inside windows.

    Raises:
        InputError: The records are not of the same images.
    """
    if apart.shape != shared.shape or not len(apart):
        raise InputError(f"records of the same images are compared, not {apart.shape} and {shared.shape}")
    draws = np.random.default_rng(seed).multinomial(len(apart), np.full(len(apart), 1 / len(apart)), size=resamples)
    weights = np.concatenate([np.ones((1, len(apart)), dtype=draws.dtype), draws])
    before, after = (border_error(np.tensordot(weights, counts, 1)) for counts in (apart, shared))
    change = 100 * (after / before - 1)[:, [0, 2]]  # (1 + resamples, 2)
    return np.stack([change[0], *np.nanpercentile(change[1:], _ENDS, axis=0)], axis=1)
