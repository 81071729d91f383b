"""Solutions of notebook 10. Each function states its exercise, returns the answer and asserts what must hold."""

import numpy as np
import torch
from sklearn.neighbors import LocalOutlierFactor

from ovss.ingredients import kdist_scores

POINTS = (5.0, 9.0, 15.0, 17.0, 22.0, 43.0, 48.0, 50.0)


def largest(points: np.ndarray) -> tuple[int, int]:
    """Number of the point with the largest factor: by SC-CLIP's code, by the textbook."""
    code = kdist_scores(torch.tensor(points, dtype=torch.float32)[None, :, None], neighbours=3)[0]
    textbook = -LocalOutlierFactor(n_neighbors=3).fit(points[:, None]).negative_outlier_factor_
    return int(code.argmax()), int(textbook.argmax())


def exercise_1() -> float:
    """Where the point that the code names may lie for both to name it: far out, beyond any doubt."""
    points = np.array(POINTS)
    assert len(set(largest(points))) == 2
    points[4] = 200.0
    assert largest(points) == (4, 4)
    return float(points[4])


def exercise_2() -> int:
    """Background words at which p(cat) is below one half: 1 + n exp(-2.4) passes 2 at n = 12."""
    scale, cat, other = 40, 0.28, 0.22
    words = 1
    while 1 / (1 + words * np.exp(scale * (other - cat))) >= 0.5:
        words += 1
    assert words == 12
    return words


def exercise_3() -> torch.Tensor:
    """`cd,bcij,bdij->bij` lets all pairs meet; with T the identity it is the diagonal's result."""
    generator = torch.Generator().manual_seed(0)
    p, other = torch.rand(2, 2, 3, 4, 5, generator=generator)
    words = torch.rand(3, 3, generator=generator)
    met = torch.einsum("cd,bcij,bdij->bij", words, p, other)
    by_hand = sum(words[c, d] * p[:, c] * other[:, d] for c in range(3) for d in range(3))
    assert torch.allclose(met, torch.as_tensor(by_hand))
    assert torch.allclose(torch.einsum("cd,bcij,bdij->bij", torch.eye(3), p, other), (p * other).sum(1))
    return met
