"""Solutions of notebook 06. Each function states its exercise, returns the answer and asserts what must hold."""

import torch

import ovss
from ovss.ingredients import aggregation_weights, find_anomalies, repair
from ovss.lab.examples import load_example


def exercise_1() -> torch.Tensor:
    """Two neighbouring anomalies on 3 x 3 patches: each becomes the mean of its healthy neighbours only."""
    values = torch.arange(9.0).view(1, 9, 1)
    values[0, 4] = values[0, 5] = 1000.0
    sick = torch.zeros(1, 9, dtype=torch.bool)
    sick[0, [4, 5]] = True
    healed = repair(values, sick, (3, 3))
    assert healed[0, 4, 0] == sum([0, 1, 2, 3, 6, 7, 8]) / 7
    assert healed[0, 5, 0] == sum([1, 2, 7, 8]) / 4
    return healed


def exercise_2() -> dict[str, int]:
    """On how many patches of the unharmed example the detectors agree with SC-CLIP's score."""
    tokens = load_example(ovss.load_backbone()).tokens
    patches = tokens.hidden(tokens.depth - 1)[:, 1:]
    found = {detector: find_anomalies(patches, detector) for detector in ("kdist", "lof", "norm")}
    agreement = {name: int((found["kdist"] & other).sum()) for name, other in found.items()}
    assert 0 <= agreement["lof"] <= agreement["kdist"]
    assert 1 <= agreement["kdist"] <= 0.05 * patches.shape[1] + 1, "always about 5 %, whatever the picture"
    return agreement


def exercise_3() -> float:
    """With beta = 1 a patch keeps only those of cosine 1: itself. The 1e-6 in the denominator is all that is left."""
    similarity = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
    weights = aggregation_weights(similarity, 1.0)
    difference = float((weights - torch.eye(2)).abs().max())
    assert difference < 2e-6
    return difference
