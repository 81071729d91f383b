"""Label maps for the error measures: the published cases, and small random ones with void and absent classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from paths import SHARED

CORE = Path(__file__).with_name("error_cases.npz")
"""Cases 2, 3, 6 and 7 of the reference counts, so that a fresh clone checks against the published code too."""


def published_cases():
    """One parameter per case: the committed core, then every case of the shared reference where it lies at hand."""
    cases = []
    for path, what in ((CORE, "core"), (SHARED / "goldens/errors/cases.npz", "shared")):
        if not path.exists():
            reason = "reference material ../shared/goldens/errors is not on this machine"
            cases.append(pytest.param(None, id=what, marks=pytest.mark.skip(reason=reason)))
            continue
        with np.load(path) as arrays:
            stored = dict(arrays)
        for index in range(sum(name.startswith("gt_") for name in stored)):
            case = {
                name.removesuffix(f"_{index}"): value for name, value in stored.items() if name.endswith(f"_{index}")
            }
            cases.append(pytest.param({**case, "columns": stored["columns"]}, id=f"{what}-{index}"))
    return cases


def neighbours(pixel, reach):
    """The square of pixels around one, itself included, with no regard to the border."""
    y, x = pixel
    steps = range(-reach, reach + 1)
    return {(y + down, x + right) for down in steps for right in steps}


@st.composite
def label_maps(draw):
    """Prediction and ground truth of up to 12 x 12 pixels, patches of three of four classes; 255 may stand in both."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    patch = draw(st.sampled_from([1, 2, 3, 5]))
    truth = _patches(generator, shape, patch)
    moved = np.roll(truth, tuple(generator.integers(-2, 3, 2)), axis=(0, 1))
    other = draw(st.sampled_from([moved, _patches(generator, shape, patch), np.full_like(truth, 3)]))
    prediction = np.where(generator.random(shape) < 0.15, _patches(generator, shape, 1), other)
    for labels in (truth, prediction):
        labels[_patches(generator, shape, patch) == 0] = draw(st.sampled_from([255, 0]))
    return prediction, truth


def _patches(generator, shape, patch):
    grid = generator.integers(0, 3, (-(-shape[0] // patch), -(-shape[1] // patch)), dtype=np.uint8)
    return np.kron(grid, np.ones((patch, patch), dtype=np.uint8))[: shape[0], : shape[1]].copy()
