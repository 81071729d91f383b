"""Anomaly tokens, block by block: how far they stand out, what attention they draw, what repair changes (SC-CLIP)."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.attention import between_patches
from ovss.analysis.frames import choose_states, join, tidy
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import attention_map, find_anomalies, kdist_scores, lof_scores, repair


def anomaly_scores(tokens: Tokens, layer: int, detector: str = "lof", neighbours: int = 30) -> Float[Tensor, "B h w"]:
    """How anomalous each patch of a hidden state is.

    Args:
        tokens: One backbone pass.
        layer: Hidden state, 0..L.
        detector: "lof" (local outlier factor, about 1 where nothing stands out), "kdist" (SC-CLIP's simplification) or
            "norm" (length of the token).
        neighbours: Neighbours k of the first two, at most N - 1 are used.
    """
    patches = tokens.patches(layer).float()
    return _scores(patches, detector, neighbours).unflatten(-1, tokens.grid)


def _scores(patches: Float[Tensor, "B N D"], detector: str, neighbours: int) -> Float[Tensor, "B N"]:
    if detector == "norm":
        return patches.norm(dim=-1)
    if detector not in ("lof", "kdist"):
        raise InputError(f"detector '{detector}' must be lof, kdist or norm")
    return (lof_scores if detector == "lof" else kdist_scores)(patches, neighbours)


@torch.inference_mode()
def anomaly_statistics(
    tokens: Tokens,
    layers: Iterable[int] | None = None,
    *,
    detector: str = "kdist",
    neighbours: int = 30,
    contamination: float = 0.05,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """The patches a detector calls anomalous, before and after they are repaired.

    The detectors always name a fixed share of the patches, so the question is not how many there are but how far they
    stand out: scores and norms near 1 and attention near their share mean that nothing is wrong.

    Args:
        tokens: One backbone pass.
        layers: Hidden states 0..L-1, those that a block follows; None takes all of them.
        detector: See `ovss.ingredients.find_anomalies`.
        neighbours: Neighbours k.
        contamination: Share of the patches that is called anomalous.
        images: Names of the images.

    Returns:
        Tidy frame. Without head: lof_max (largest local outlier factor), norm_ratio (largest norm over the median
        norm), and both with the ending _repaired. Per head of the following block: anomaly_attention, the mean
        attention that an anomalous patch receives from the patches (1 = uniform), and anomaly_attention_repaired;
        NaN for an image whose highest scores tie, so that none lies above the quantile.
    """
    frames = []
    for layer in choose_states(tokens, range(tokens.depth) if layers is None else layers):
        if layer == tokens.depth:
            raise InputError(f"no block follows hidden state {layer}; the last one to measure is {layer - 1}")
        hidden = tokens.hidden(layer)
        patches = hidden[:, tokens.prefix :].float()
        anomalous = find_anomalies(patches, detector, neighbours, contamination)
        sound = repair(patches, anomalous, tokens.grid)
        block = tokens.block(layer + 1)
        repaired = torch.cat([hidden[:, : tokens.prefix], sound.to(hidden.dtype)], dim=1)
        for ending, stream, qkv in (
            ("", patches, tokens.qkv(layer + 1)),
            ("_repaired", sound, block.qkv(repaired)),
        ):
            norms = stream.norm(dim=-1)
            frames.append(tidy(f"lof_max{ending}", lof_scores(stream, neighbours).amax(-1), layer, images))
            frames.append(tidy(f"norm_ratio{ending}", norms.amax(-1) / norms.median(-1).values, layer, images))
            received = (
                between_patches(attention_map(qkv, "qk"), tokens.prefix).mean(-2) * patches.shape[1]
            )  # (B, heads, N)
            share = (received * anomalous[:, None]).sum(-1) / anomalous.sum(-1)[:, None]
            frames.append(tidy(f"anomaly_attention{ending}", share, layer, images))
    return join(frames)
