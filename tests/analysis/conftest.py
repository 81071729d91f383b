"""One pass of a small random model, with a ground truth."""

import numpy as np
import pytest
from analysis_helpers import CLASSES, make_tokens

from ovss.backbone import Tokens


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return make_tokens()


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(2).integers(0, CLASSES, (2, 4, 6))
