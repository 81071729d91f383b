"""What each block knows: read-out of hidden states, norms of its parts, likeness of blocks, features as colours."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor

from ovss.analysis.frames import check_images, check_truth, choose_blocks, choose_states, join, tidy
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import VOID, attend
from ovss.methods.base import unit
from ovss.metrics import MEASURES, measure

_AREAS = ("intersection", "truth", "prediction")
_STARTS: Any = 4
"""Starts of k-means, of which the best is used."""


@torch.inference_mode()
def read_out_labels(tokens: Tokens, text: Float[Tensor, "C E"], layer: int) -> np.ndarray:
    """Class of each patch when a hidden state is read out as if it were the last one ("logit lens").

    Args:
        tokens: One backbone pass.
        text: Unit text embedding of each class, row = class index.
        layer: Hidden state, 0..L; L is plain CLIP.

    Returns:
        Class indices (B, h, w), int64.
    """
    embedded = unit(tokens.read_out(tokens.patches(layer)))  # (B, N, E)
    best = (embedded @ text.to(embedded.device, torch.float32).T).argmax(-1)
    return best.unflatten(-1, tokens.grid).cpu().numpy()


def layer_read_out(
    tokens: Tokens,
    text: Float[Tensor, "C E"],
    truth: np.ndarray,
    layers: Iterable[int] | None = None,
    *,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Areas per image and class for every hidden state read out; `layer_miou` sums them up.

    Args:
        tokens: One backbone pass.
        text: Unit text embedding of each class.
        truth: Class of each patch (B, h, w).
        layers: Hidden states 0..L; None takes all.
        images: Names of the images.

    Returns:
        Frame with the columns image, layer, class, intersection, truth, prediction (patches, void left out); classes
        that occur in neither are left out.
    """
    labels = check_truth(tokens, truth)
    names = check_images(images, tokens.batch)
    rows = []
    for layer in choose_states(tokens, layers):
        predictions = read_out_labels(tokens, text, layer).reshape(len(labels), -1)
        for name, label, predicted in zip(names, labels, predictions, strict=True):
            valid = label != VOID
            areas = (label[valid & (label == predicted)], label[valid], predicted[valid])
            counts = np.stack([np.bincount(area, minlength=len(text)) for area in areas], axis=1)  # (C, 3)
            rows += [(name, layer, c, *map(int, counts[c])) for c in np.flatnonzero(counts.any(axis=1))]
    return pd.DataFrame(rows, columns=["image", "layer", "class", *_AREAS])


def layer_miou(counts: pd.DataFrame) -> pd.DataFrame:
    """Metrics per hidden state, in percent, from the summed areas of `layer_read_out`.

    Returns:
        Columns layer, measure ("mIoU", "mAcc", "pAcc", "fwIoU"), value.
    """
    rows = []
    for layer in sorted(counts["layer"].unique()):
        part: Any = counts[counts["layer"] == layer]
        sums = part.groupby("class")[list(_AREAS)].sum().to_numpy().T  # (3, C)
        rows += [(layer, name, float(value)) for name, value in zip(MEASURES, measure(sums).mean, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "measure", "value"])


@torch.inference_mode()
def stream_norms(
    tokens: Tokens, layers: Iterable[int] | None = None, *, images: Sequence[object] | None = None
) -> pd.DataFrame:
    """Lengths of what a block adds to its residual stream (ClearCLIP, Sec. 3.2); means over the patches.

    Args:
        tokens: One backbone pass.
        layers: Blocks; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame of the measures residual_norm (block input), attention_norm (what attention adds), ffn_norm (what the
        FFN adds), and residual_share, residual over residual plus attention.
    """
    frames = []
    for layer in choose_blocks(tokens, layers):
        block, stream = tokens.block(layer), tokens.hidden(layer - 1)
        added = block.merge(attend(tokens.qkv(layer), "qk"))
        lengths = [
            part[:, tokens.prefix :].float().norm(dim=-1) for part in (stream, added, block.ffn(stream + added))
        ]  # (B, N)
        share = lengths[0] / (lengths[0] + lengths[1])
        names = ("residual_norm", "attention_norm", "ffn_norm", "residual_share")
        frames += [
            tidy(name, value.mean(-1), layer, images) for name, value in zip(names, [*lengths, share], strict=True)
        ]
    return join(frames)


def linear_cka(x: Float[Tensor, "n a"], y: Float[Tensor, "n b"]) -> float:
    """Linear centred kernel alignment (Kornblith et al., ICML 2019): 1 for equal up to rotation and scale, in 0..1.

    Args:
        x: Features of n samples.
        y: Other features of the same samples.
    """
    x, y = (z.double() - z.double().mean(0) for z in (x, y))
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    return float((y.T @ x).square().sum() / scale)


@torch.inference_mode()
def cka(tokens: Tokens, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Linear CKA between hidden states, over all patches of the batch.

    Args:
        tokens: One backbone pass.
        layers: Hidden states 0..L; None takes all.

    Returns:
        Columns layer, other, value; both orders of a pair.
    """
    chosen = choose_states(tokens, layers)
    flat = {layer: tokens.patches(layer).flatten(0, 1).float() for layer in chosen}
    values = {(a, b): linear_cka(flat[a], flat[b]) for a in chosen for b in chosen if a <= b}
    return pd.DataFrame(
        [{"layer": a, "other": b, "value": values[min(a, b), max(a, b)]} for a in chosen for b in chosen]
    )


@torch.inference_mode()
def pca_rgb(features: Float[Tensor, "B N D"], grid: tuple[int, int]) -> np.ndarray:
    """First three principal components of patch features as red, green and blue; one basis for the whole batch.

    Signs are fixed (the largest loading of a component is positive), so the same features give the same colours.

    Args:
        features: Patch features, row-major over the grid.
        grid: Patch rows and columns.

    Returns:
        (B, h, w, 3) in 0..1: each component runs from its 1st to its 99th percentile.
    """
    flat = features.flatten(0, 1).double()
    if min(flat.shape) < 3:
        raise InputError(f"PCA colours need at least 3 patches and 3 features, not {tuple(flat.shape)}")
    flat = flat - flat.mean(0)
    _, vectors = torch.linalg.eigh(flat.T @ flat)
    basis = vectors[:, -3:].flip(-1)  # (D, 3), largest variance first
    signs = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    projected = flat @ (basis * signs)
    low, high = (torch.quantile(projected, q, dim=0) for q in (0.01, 0.99))
    scaled = ((projected - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return scaled.view(features.shape[0], *grid, 3).float().cpu().numpy()


def cluster_patches(
    features: Float[Tensor, "B N D"], grid: tuple[int, int], clusters: int, seed: int = 0
) -> np.ndarray:
    """k-means of the patches of each image on its own.

    Args:
        features: Patch features.
        grid: Patch rows and columns.
        clusters: Number of clusters, at most N.
        seed: Of the starting points.

    Returns:
        Cluster numbers (B, h, w), the largest cluster of an image being 0.
    """
    if not 1 <= clusters <= features.shape[1]:
        raise InputError(f"clusters={clusters} is outside 1..{features.shape[1]}, the number of patches")
    result = []
    for one in features.float().cpu().numpy():
        clustered = KMeans(clusters, n_init=_STARTS, random_state=seed).fit_predict(one)
        order = np.argsort(-np.bincount(clustered, minlength=clusters), kind="stable")
        result.append(np.argsort(order)[clustered].reshape(grid))
    return np.stack(result)
