"""The tidy frame that all measurements share, and the checks of what goes into one."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError

_COLUMNS = ("image", "layer", "head", "measure", "value")


def tidy(
    measure: str,
    values: Float[Tensor, " B"] | Float[Tensor, "B H"],
    layer: int,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """One row per image, or per image and head.

    Args:
        measure: Name of what was measured.
        values: One value per image, or per image and head.
        layer: Block (1-based), or number of the hidden state.
        images: Names of the images; None numbers them from 0.

    Returns:
        Columns image, layer, head (1-based; missing where the value belongs to several heads), measure, value.
    """
    array = values.detach().double().cpu().numpy()
    names = check_images(images, len(array))
    heads = array.shape[1] if array.ndim == 2 else 1
    return pd.DataFrame(
        {
            "image": np.repeat(np.array(names), heads),
            "layer": layer,
            "head": pd.array(
                list(range(1, heads + 1)) * len(array) if array.ndim == 2 else [None] * len(array), "Int64"
            ),
            "measure": measure,
            "value": array.ravel(),
        }
    )


def join(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames below each other, rows numbered from 0."""
    return pd.concat(list(frames), ignore_index=True)


def check_images(images: Sequence[object] | None, batch: int) -> list[object]:
    """Image names, one per image of the batch.

    Raises:
        InputError: Their number differs from the batch.
    """
    if images is None:
        return list(range(batch))
    if len(images) != batch:
        raise InputError(f"images names {len(images)} images, but the batch holds {batch}")
    return list(images)


def choose_blocks(tokens: Tokens, layers: Iterable[int] | None) -> list[int]:
    """Blocks to measure, ascending; all when `layers` is None.

    Raises:
        InputError: A block that the model does not have.
    """
    chosen = sorted(set(range(1, tokens.depth + 1) if layers is None else layers))
    for layer in chosen:
        if not 1 <= layer <= tokens.depth:
            raise InputError(f"block {layer} is outside 1..{tokens.depth}, the blocks of {tokens.backbone.name}")
    return chosen


def choose_states(tokens: Tokens, layers: Iterable[int] | None) -> list[int]:
    """Hidden states to measure, ascending; 0..L when `layers` is None.

    Raises:
        InputError: A hidden state that the model does not have.
    """
    chosen = sorted(set(range(tokens.depth + 1) if layers is None else layers))
    for layer in chosen:
        if not 0 <= layer <= tokens.depth:
            raise InputError(f"hidden state {layer} is outside 0..{tokens.depth}, the states of {tokens.backbone.name}")
    return chosen


def check_truth(tokens: Tokens, truth: np.ndarray) -> np.ndarray:
    """Patch labels (B, N) from (B, h, w).

    Raises:
        InputError: The shape is not that of the tokens.
    """
    truth = np.asarray(truth)
    if truth.shape != (tokens.batch, *tokens.grid):
        raise InputError(f"patch labels must be {(tokens.batch, *tokens.grid)}, not {truth.shape}; see patch_labels")
    return truth.reshape(tokens.batch, -1)
