"""Channels that are far larger than the rest: how large in each block, and which."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch

from ovss.analysis.frames import check_images, choose_states
from ovss.backbone import Tokens


@torch.inference_mode()
def massive_channels(
    tokens: Tokens, layers: Iterable[int] | None = None, *, images: Sequence[object] | None = None
) -> pd.DataFrame:
    """The largest channel of each hidden state, over the median of all.

    Sun et al., "Massive Activations in Large Language Models" (COLM 2024), speak of a massive one above 1000 times the
    median; what clipping it does to mIoU is `ovss.analysis.causal.ablate` with "block 5 channel 17 clip".

    Args:
        tokens: One backbone pass.
        layers: Hidden states 0..L; None takes all.
        images: Names of the images.

    Returns:
        A row per image and state: image, layer, ratio (largest over median absolute value, over all patches and
        channels), channel (where the largest stands), mean_channel (the channel of the largest mean absolute value over
        patches) and mean_ratio (that mean over the median of all channels' means).

    Example:
        >>> import torch, ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> found = massive_channels(backbone.encode_tokens(torch.zeros(1, 3, 64, 64)), [7])
        >>> list(found.columns)
        ['image', 'layer', 'ratio', 'channel', 'mean_channel', 'mean_ratio']
    """
    names, frames = check_images(images, tokens.batch), []
    for layer in choose_states(tokens, layers):
        sizes = tokens.patches(layer).float().abs()  # (B, N, D)
        largest, place = sizes.flatten(1).max(-1)
        means = sizes.mean(1)  # (B, D)
        frames.append(
            pd.DataFrame(
                {
                    "image": names,
                    "layer": layer,
                    "ratio": (largest / sizes.flatten(1).median(-1).values).double().cpu().numpy(),
                    "channel": (place % sizes.shape[-1]).cpu().numpy(),
                    "mean_channel": means.argmax(-1).cpu().numpy(),
                    "mean_ratio": (means.amax(-1) / means.median(-1).values).double().cpu().numpy(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
