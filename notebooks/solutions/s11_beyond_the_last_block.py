"""Solutions of notebook 11. Each function states its exercise, returns the answer and asserts what must hold."""

import torch

import ovss
from ovss.ingredients import Blur, balanced_attention
from ovss.lab.examples import load_example


def off_rotation(steps: int) -> float:
    """How far the matrix after so many Newton-Schulz steps is from a rotation, on the toy of the notebook."""
    keys = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -2.0]])
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    covariance = (keys.T @ keys @ turn)[None, None]
    found = ovss.create_method("pearl", steps=steps).rotation(covariance)[0, 0]
    return float((found.mT @ found - torch.eye(2)).abs().max())


def exercise_1() -> int:
    """Steps until the matrix is a rotation to two digits; once near, each step squares the error."""
    steps = next(number for number in range(1, 30) if off_rotation(number) < 0.01)
    assert off_rotation(steps + 1) < off_rotation(steps) < off_rotation(1)
    return steps


def exercise_2() -> int:
    """Entries that change: of the four loud patches only. Neighbours are read, not written.

    Away from the border a channel that is 1 all around stays 1; at the border zeros come in, and all channels change.
    """
    states = torch.ones(1, 65, 16)
    planted = [0, 9, 36, 63]
    for place in planted:
        states[0, 1 + place, 3] = 50.0
    changed = Blur(channels=(3,), sigma=5.0, alpha=0.4)(states, (8, 8)) != states
    assert changed.any(-1)[0, 1:].nonzero().flatten().tolist() == planted
    return int(changed.sum())


def exercise_3() -> float:
    """Largest difference: none, for the first division by the column sums cancels any common factor."""
    tokens = load_example(ovss.load_backbone(device="cpu")).tokens
    depth = tokens.depth
    with torch.inference_mode():
        first = next(iter(balanced_attention(tokens)))
        total = torch.zeros_like(first)
        for number in range(1, depth):
            q, k, _ = tokens.qkv(number)
            total += 2 * torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        total = total / total.sum(-2, keepdim=True)
        total = total / total.sum(-1, keepdim=True)
        mutual = (total + total.mT) / 2
        mutual = (mutual - mutual.mean(-2, keepdim=True)).clamp_min(0)
        difference = float((mutual / mutual.sum(-1, keepdim=True) - first).abs().max())
    assert difference < 1e-5
    return difference
