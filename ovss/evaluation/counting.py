"""Pixels counted where the labels are, so that of an image three numbers per class leave the device, not its labels."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ovss.backbone.devices import tally
from ovss.errors import InputError
from ovss.evaluation.job import Job
from ovss.metrics import check_truth, count_labels
from ovss.segment.oracles import NONE

__all__ = ["count", "count_tensors", "refuse_classes"]


def count_tensors(labels: Int[Tensor, "H W"], truth: Int[Tensor, "H W"], classes: int) -> Int[Tensor, "2 C"]:
    """Intersection and predicted area of each class, as `ovss.metrics.count_labels` has them; waits for nothing.

    Args:
        labels: Label map, values 0..classes-1, int64.
        truth: Ground truth on the same device, int64; `NONE` for pixels that do not count.
        classes: Number of classes C.

    Example:
        >>> count_tensors(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, NONE]]), classes=2).tolist()
        [[1, 0], [1, 1]]
    """
    hits = torch.where(labels == truth, labels, classes)
    guess = torch.where(truth != NONE, labels, classes)
    return torch.stack([tally(hits, classes + 1), tally(guess, classes + 1)])[:, :classes]


def refuse_classes(truth: np.ndarray, job: Job, id: str) -> None:
    """Refuse ground truth that holds a value outside the class list.

    Raises:
        InputError: Names the image and the value.
    """
    try:
        check_truth(truth, len(job.vocabulary.classes), job.dataset.void)
    except InputError as error:
        raise InputError(f"image '{id}' of {job.dataset.name}: {error}") from error


def count(prediction: np.ndarray, truth: np.ndarray, job: Job, id: str) -> np.ndarray:
    """Counts (3, C) of one image under the job's metric rule.

    Raises:
        InputError: Values outside the class list; names the image.
    """
    refuse_classes(truth, job, id)
    void_class = job.vocabulary.background if job.protocol.metric == "cliptrase" else None
    return count_labels(prediction, truth, len(job.vocabulary.classes), void=job.dataset.void, void_class=void_class)
