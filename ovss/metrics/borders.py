"""Window border error: how much more often labels change across the borders of windows than inside them.

Windows are scored apart from each other, so that a label map may change where one begins or ends although the image
does not. Neighbouring pixels are counted in pairs, one below or beside the other; pairs whose ground truth changes, or
of which one is void, are left out. Ratios of summed counts are the measure; nothing is averaged over images.
"""

import numpy as np
from jaxtyping import Bool

from ovss.errors import InputError
from ovss.metrics.morphology import VOID, numbered


def border_counts(
    prediction: np.ndarray,
    truth: np.ndarray,
    classes: int,
    *,
    rows: Bool[np.ndarray, " H-1"],
    columns: Bool[np.ndarray, " W-1"],
    void: int = 255,
) -> np.ndarray:
    """Pairs of neighbouring pixels, across window borders and inside windows.

    Args:
        prediction: Label map (H, W), values 0..classes-1; `void` marks pixels that were given no class.
        truth: Ground truth (H, W), values 0..classes-1 and `void`.
        classes: Number of classes C.
        rows: Whether a window begins or ends between pixel rows i and i + 1.
        columns: Likewise between pixel columns.
        void: Value of pixels without a class.

    Returns:
        int64 (2, 2): pairs across a border and pairs inside; of each how many change label, and how many there are.

    Raises:
        InputError: Maps that do not fit each other, the class list or the borders.
    """
    guess, true = numbered(prediction, truth, classes, void)
    if (len(rows), len(columns)) != (true.shape[0] - 1, true.shape[1] - 1):
        raise InputError(
            f"borders between {len(rows) + 1} rows and {len(columns) + 1} columns do not fit a map of {true.shape}"
        )
    counts = np.zeros((2, 2), dtype=np.int64)
    for border, one, other in (
        (rows[:, None], np.s_[:-1], np.s_[1:]),
        (columns[None], np.s_[:, :-1], np.s_[:, 1:]),
    ):
        counted = (true[one] == true[other]) & (true[one] != VOID)
        changed = counted & (guess[one] != guess[other])
        for number, side in enumerate((border, ~border)):
            counts[number] += (changed & side).sum(), (counted & side).sum()
    return counts


def border_error(counts: np.ndarray) -> np.ndarray:
    """Share of pairs that change label: across borders, inside windows, and the difference, in percent.

    Args:
        counts: (..., 2, 2), summed over images.

    Returns:
        (..., 3); NaN where there is no pair.
    """
    changed, pairs = (counts[..., part].astype(np.float64) for part in (0, 1))
    shares = 100 * np.divide(changed, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    return np.concatenate([shares, shares[..., :1] - shares[..., 1:]], axis=-1)
