"""Do attention measurements predict segmentation quality? Rank correlation with intervals over images.

An image with few classes has more attention within each of them, whatever the model does, and is easier. So a
correlation over images says little by itself: `control` takes out what the image alone explains (partial rank
correlation), and `within_images` compares methods on one and the same image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ovss.errors import InputError

_RESAMPLES = 2000
_LEVEL = 95.0
_FEWEST = 5
"""Images below which a resampled mean has no interval worth printing."""
_KEYS = ("measure", "layer", "head")


def rank_correlation(
    x: np.ndarray,
    y: np.ndarray,
    images: np.ndarray,
    *,
    control: np.ndarray | None = None,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Spearman's rho with a percentile bootstrap interval; images are resampled, each with all its rows.

    Args:
        x: One value per row.
        y: The other one.
        images: Image of each row.
        control: Values (rows, K) held constant: the correlation is that of what is left of the ranks of x and y after
            regressing them on the ranks of each column (partial rank correlation).
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.

    Returns:
        rho, lower and upper end; NaN where one side is constant or fully explained by `control`.
    """
    _, image = np.unique(images, return_inverse=True)
    count = int(image.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)  # (R, images)
    weights = np.concatenate([np.ones((1, count)), draws])[:, image]  # (1 + R, rows)
    others = () if control is None else np.asarray(control, dtype=float).T
    ranks = np.stack([_ranks(values, weights) for values in (x, y, *others)], axis=-1)  # (1 + R, rows, 2 + K)
    rho = _partial(ranks, weights)
    return (float(rho[0]), *_ends(rho[1:], level))


def within_images(
    frame: pd.DataFrame, *, resamples: int = _RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over images of the rank correlation across the rows of one image, with a bootstrap interval over images.

    What is the same for all rows of an image (its classes, their areas, its difficulty) cannot matter.

    Args:
        frame: Columns image, value and quality; a row per method, say. Images in which one side is constant are left
            out.
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.

    Returns:
        Mean, lower and upper end; NaN without an image that counts.
    """
    found = []
    for _, part in frame.groupby("image", sort=True):
        values = part[["value", "quality"]].dropna().to_numpy(float)
        one = np.ones((1, len(values)))
        if len(values) >= 3:
            found.append(_partial(np.stack([_ranks(column, one) for column in values.T], axis=-1), one)[0])
    return mean_interval(np.array(found), resamples=resamples, level=level, seed=seed)


def mean_interval(
    values: np.ndarray, *, resamples: int = _RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of one value per image with a percentile bootstrap interval over images; NaN ends for fewer than five.

    Args:
        values: One value per image; those that are not finite are left out.
        resamples: Number of resamples.
        level: Coverage in percent.
        seed: Of the resampling.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if len(finite) < _FEWEST:
        return float(finite.mean()) if len(finite) else float("nan"), float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(len(finite), size=(resamples, len(finite)))
    return (float(finite.mean()), *_ends(finite[draws].mean(1), level))


def _ends(replicates: np.ndarray, level: float) -> tuple[float, float]:
    if not np.isfinite(replicates).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(replicates, [(100 - level) / 2, (100 + level) / 2])
    return float(low), float(high)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks (R, rows) of rows that each resample holds `weights` times."""
    unique, place = np.unique(values, return_inverse=True)
    mass = np.zeros((len(weights), len(unique)))
    np.add.at(mass.T, place, weights.T)
    return (mass.cumsum(1) - mass / 2 + 0.5)[:, place]


def _partial(ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlation (R,) of the first two columns of ranks (R, rows, 2 + K) given the others."""
    total = weights.sum(1)[:, None]
    ranks = ranks - np.einsum("rn,rnk->rk", weights, ranks)[:, None] / total[:, None]
    products = np.einsum("rn,rni,rnj->rij", weights, ranks, ranks, optimize=True)
    # A constant column has no spread to divide by; what it explains is nothing.
    spread = np.sqrt(np.maximum(np.einsum("rii->ri", products), 0))
    scale = np.where(spread > 1e-9, spread, np.inf)
    alike = products / scale[:, :, None] / scale[:, None]
    cross = alike[:, :2, 2:]
    left = alike[:, :2, :2] - cross @ np.linalg.pinv(alike[:, 2:, 2:], hermitian=True) @ cross.mT
    size = np.sqrt(np.maximum(left[:, 0, 0] * left[:, 1, 1], 0))
    return np.divide(left[:, 0, 1], size, out=np.full(len(left), np.nan), where=size > 1e-9)


def link_to_quality(
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    *,
    on: Sequence[str] = ("image",),
    control: pd.DataFrame | None = None,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Each measurement against how well the same image (or the same class in it) was segmented.

    Args:
        measurements: Tidy frames of this package below each other.
        quality: Frame with the columns of `on` and value, for instance IoU.
        on: What identifies a row: ("image",) or ("image", "class").
        control: Frame with the columns of `on` and others, which are held constant in the partial correlation.
        resamples: Bootstrap resamples of images.
        seed: Of the resampling.

    Returns:
        Frame with the columns measure, layer, head, rho, low, high, with `control` also partial, partial_low and
        partial_high, and rows; sorted by measure, layer and head. Rows
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
    held = [] if control is None else [str(name) for name in control if name not in on]
    if control is not None:
        joined = joined.merge(control.rename(columns={name: f"_{name}" for name in held}), on=list(on))
    joined = joined[np.isfinite(joined[["value", "value_quality"]].astype(float)).all(axis=1)]
    rows = []
    groups: Any = joined.groupby(list(_KEYS), dropna=False, sort=True)
    for key, part in groups:
        x, y = part["value"].to_numpy(float), part["value_quality"].to_numpy(float)
        given = [None, *([part[[f"_{name}" for name in held]].to_numpy(float)] if held else [])]
        found = [(float("nan"),) * 3] * len(given)
        if len(part) >= 3:
            images = part["image"].to_numpy()
            found = [
                rank_correlation(x, y, images, control=held_constant, resamples=resamples, seed=seed)
                for held_constant in given
            ]
        rows.append((*key, *(number for each in found for number in each), len(part)))
    partial = ["partial", "partial_low", "partial_high"] if held else []
    return pd.DataFrame(rows, columns=[*_KEYS, "rho", "low", "high", *partial, "rows"]).astype({"head": "Int64"})
