"""Do attention measurements predict segmentation quality? Rank correlation with intervals over images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ovss.errors import InputError

_RESAMPLES = 2000
_LEVEL = 95.0
_KEYS = ("measure", "layer", "head")


def rank_correlation(
    x: np.ndarray,
    y: np.ndarray,
    images: np.ndarray,
    *,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Spearman's rho with a percentile bootstrap interval; images are resampled, each with all its rows.

    Args:
        x: One value per row.
        y: The other one.
        images: Image of each row.
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.

    Returns:
        rho, lower and upper end; NaN where one side is constant.
    """
    _, image = np.unique(images, return_inverse=True)
    count = int(image.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)  # (R, images)
    weights = np.concatenate([np.ones((1, count)), draws])[:, image]  # (1 + R, rows)
    rho = _pearson(_ranks(x, weights), _ranks(y, weights), weights)
    low, high = (
        np.nanpercentile(rho[1:], [(100 - level) / 2, (100 + level) / 2])
        if np.isfinite(rho[1:]).any()
        else (np.nan, np.nan)
    )
    return float(rho[0]), float(low), float(high)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks (R, rows) of rows that each resample holds `weights` times."""
    unique, place = np.unique(values, return_inverse=True)
    mass = np.zeros((len(weights), len(unique)))
    np.add.at(mass.T, place, weights.T)
    return (mass.cumsum(1) - mass / 2 + 0.5)[:, place]


def _pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    a, b = (z - (weights * z).sum(1, keepdims=True) / total for z in (a, b))
    scale = np.sqrt((weights * a**2).sum(1) * (weights * b**2).sum(1))
    product = (weights * a * b).sum(1)
    # Ranks are multiples of one half, so a spread below this is that of a constant.
    return np.divide(product, scale, out=np.full(len(product), np.nan), where=scale > 1e-9)


def link_to_quality(
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    *,
    on: Sequence[str] = ("image",),
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Each measurement against how well the same image (or the same class in it) was segmented.

    Args:
        measurements: Tidy frames of this package below each other.
        quality: Frame with the columns of `on` and value, for instance IoU.
        on: What identifies a row: ("image",) or ("image", "class").
        resamples: Bootstrap resamples of images.
        seed: Of the resampling.

    Returns:
        Frame with the columns measure, layer, head, rho, low, high, rows; sorted by measure, layer and head. Rows
        without a finite value on both sides are left out; fewer than 3 rows give NaN.

    Raises:
        InputError: A column of `on` is missing, `quality` has a row twice, or no row is in both frames.
    """
    for name, frame in (("measurements", measurements), ("quality", quality)):
        missing = [column for column in (*on, "value") if column not in frame]
        if missing:
            raise InputError(f"{name} has no column '{missing[0]}'; it has {', '.join(map(str, frame.columns))}")
    if quality.duplicated(list(on)).any():
        raise InputError(f"quality has two rows for one {' and '.join(on)}; choose one method and one metric first")
    chosen: Any = measurements
    if "class" in measurements and "class" not in on:
        chosen = measurements[measurements["class"].isna()]
    joined = chosen.merge(quality[[*on, "value"]], on=list(on), suffixes=("", "_quality"))
    if joined.empty:
        raise InputError(f"measurements and quality share no {' and '.join(on)}")
    joined = joined[np.isfinite(joined["value"].astype(float)) & np.isfinite(joined["value_quality"].astype(float))]
    rows = []
    groups: Any = joined.groupby(list(_KEYS), dropna=False, sort=True)
    for key, part in groups:
        x, y = part["value"].to_numpy(float), part["value_quality"].to_numpy(float)
        rho = (float("nan"),) * 3
        if len(part) >= 3:
            rho = rank_correlation(x, y, part["image"].to_numpy(), resamples=resamples, seed=seed)
        rows.append((*key, *rho, len(part)))
    return pd.DataFrame(rows, columns=[*_KEYS, "rho", "low", "high", "rows"]).astype({"head": "Int64"})
