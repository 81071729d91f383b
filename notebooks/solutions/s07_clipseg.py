"""Solutions of notebook 07. Each function states its exercise, returns the answer and asserts what must hold."""

import torch
from torch.nn.functional import normalize

import ovss
from ovss.lab.examples import load_example


def exercise_1() -> float:
    """With distance 0 and one value block every patch sees itself alone: that is MaskCLIP."""
    tokens = load_example(ovss.load_backbone()).tokens
    alone = ovss.create_method("clipseg_aaai25", threshold=0.0, value_blocks=1, attention=("coh",))
    difference = (alone.patch_embeddings(tokens) - ovss.create_method("maskclip").patch_embeddings(tokens)).abs().max()
    assert difference < 1e-3
    return float(difference)


def exercise_2() -> tuple[int, float]:
    """The middle block that coherence chooses, and the share of patches that get the same class as by default."""
    backbone = ovss.load_backbone()
    dataset = ovss.load_dataset("scenes", split="val")
    # A picture of one class has no pairs of two classes; calibrate leaves it out.
    method = ovss.create_method("clipseg_aaai25", middle_blocks="auto").calibrate(
        backbone, [dataset[i] for i in range(8)]
    )
    example = load_example(backbone)
    maps = [
        choice.patch_scores(example.tokens, example.text).argmax(1)
        for choice in (method, ovss.create_method("clipseg_aaai25"))
    ]
    (block,) = method.blocks(backbone.depth)
    assert 1 <= block <= backbone.depth
    return block, float((maps[0] == maps[1]).float().mean())


def exercise_3() -> float:
    """ln_post divides by each token's own spread, so a read-out of a mean is no mean of read-outs."""
    tokens = load_example(ovss.load_backbone()).tokens
    deep = range(tokens.depth - 2, tokens.depth + 1)
    outputs = [tokens.block(n).merge(tokens.qkv(n)[2])[:, 1:] for n in deep]
    of_mean = normalize(tokens.read_out(torch.stack(outputs).mean(0)), dim=-1)
    mean_of = normalize(torch.stack([tokens.read_out(output) for output in outputs]).mean(0), dim=-1)
    difference = float((of_mean - mean_of).abs().max())
    assert difference > 1e-3
    return difference
