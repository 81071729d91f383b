"""Solutions of notebook 02. Each function states its exercise, returns the answer and asserts what must hold."""

import math

import torch

import ovss
from ovss import analysis
from ovss.lab.examples import load_example


def exercise_1() -> float:
    """Row likeness of the last block from q and k alone."""
    tokens = load_example(ovss.load_backbone()).tokens
    q, k, _ = tokens.qkv(tokens.depth)
    maps = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)[..., 1:, 1:]
    maps = maps / maps.sum(-1, keepdim=True)
    mean = maps.mean(dim=-2, keepdim=True)
    likeness = ((maps * mean).sum(-1) / (maps.norm(dim=-1) * mean.norm(dim=-1))).mean(-1)  # (1, heads)
    frame = analysis.attention_statistics(tokens, [tokens.depth])
    expected = frame[frame["measure"] == "row_likeness"]["value"].tolist()
    assert torch.allclose(likeness[0].double(), torch.tensor(expected, dtype=torch.float64), atol=1e-5)
    return float(likeness.mean())


def exercise_2() -> int:
    """The hidden state that names the example's patches best when it is read out as if it were the last."""
    example = load_example(ovss.load_backbone())
    counts = analysis.layer_read_out(example.tokens, example.text, example.truth)
    scores = analysis.layer_miou(counts)
    accuracy = scores[scores["measure"] == "pAcc"].set_index("layer")["value"]
    best = int(accuracy.idxmax())
    assert accuracy[best] >= accuracy[0], "the input of the first block was never meant to be read out"
    return best


def exercise_3() -> float:
    """Uniform attention on 3 x 3 patches: entropy 1, and the mean distance of all pairs.

    Counting pairs (i, j) by their offset (a, b): (3 - |a|) (3 - |b|) of them, at distance sqrt(a^2 + b^2).
    """
    uniform = torch.full((9, 9), 1 / 9)
    assert torch.allclose(analysis.entropy(uniform), torch.ones(9))
    offsets = range(-2, 3)
    by_hand = sum((3 - abs(a)) * (3 - abs(b)) * math.hypot(a, b) for a in offsets for b in offsets) / 81
    measured = float(analysis.mean_distance(uniform, (3, 3)).mean())
    assert math.isclose(measured, by_hand, rel_tol=1e-5)
    return by_hand
