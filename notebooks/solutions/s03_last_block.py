"""Solutions of notebook 03. Each function states its exercise, returns the answer and asserts what must hold."""

import itertools

import torch
from torch.nn.functional import normalize

import ovss
from ovss.ingredients import attend
from ovss.lab.examples import load_example


def exercise_1() -> float:
    """Values with values, no residual, no FFN: the share of patches on which it agrees with ClearCLIP."""
    example = load_example(ovss.load_backbone())
    tokens = example.tokens
    block, qkv = tokens.block(tokens.depth), tokens.qkv(tokens.depth)
    v = qkv[2]
    by_hand = block.merge(torch.softmax(v @ v.mT / v.shape[-1] ** 0.5, dim=-1) @ v)
    assert torch.allclose(by_hand, block.merge(attend(qkv, "vv")), atol=1e-4)
    own = normalize(tokens.read_out(by_hand[:, 1:]), dim=-1) @ example.text.T
    other = ovss.create_method("clearclip").patch_embeddings(tokens) @ example.text.T
    agreement = float((own.argmax(-1) == other.argmax(-1)).float().mean())
    assert agreement > 0.3, "both look at patches like themselves"
    return agreement


def exercise_2() -> list[float]:
    """Share of patches whose class changes between residual factors 0, 0.25, 0.5 and 1."""
    example = load_example(ovss.load_backbone())
    tokens = example.tokens
    added = tokens.block(tokens.depth).merge(attend(tokens.qkv(tokens.depth), "qq"))
    maps = []
    for factor in (0.0, 0.25, 0.5, 1.0):
        stream = factor * tokens.hidden(tokens.depth - 1) + added
        maps.append((normalize(tokens.read_out(stream[:, 1:]), dim=-1) @ example.text.T).argmax(-1))
    clearclip = ovss.create_method("clearclip").patch_scores(tokens, example.text).flatten(2).argmax(1)
    assert torch.equal(maps[0], clearclip)
    return [float((a != b).float().mean()) for a, b in itertools.pairwise(maps)]


def exercise_3() -> dict[str, float]:
    """Without the residual: how far a sum of two maps and their mean lie apart, with the projection's bias and without.

    The sum is twice the mean plus one bias less, and ln_post removes a factor, not an offset: the two agree, up to the
    small constant inside the layer norm, only where the bias is taken out.
    """
    tokens = load_example(ovss.load_backbone()).tokens
    block, qkv = tokens.block(tokens.depth), tokens.qkv(tokens.depth)
    mixed = attend(qkv, "qq") + attend(qkv, "kk")
    bias = block.merge(torch.zeros_like(mixed))
    summed, averaged = block.merge(mixed), block.merge(mixed / 2)
    assert torch.allclose(summed, 2 * averaged - bias, atol=1e-4)

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        first, second = (normalize(tokens.read_out(stream[:, 1:]), dim=-1) for stream in (a, b))
        return float((first - second).abs().max())

    found = {"with the bias": apart(summed, averaged), "without": apart(summed - bias, averaged - bias)}
    assert found["without"] < 1e-3
    assert found["with the bias"] > found["without"], "the bias is what keeps them apart"
    return found
