"""Solutions of notebook 04. Each function states its exercise, returns the answer and asserts what must hold."""

import torch
from torch.nn.functional import normalize, pad

import ovss
from ovss import analysis
from ovss.ingredients import gaussian_window
from ovss.lab.examples import Example, load_example


def label_map(example: Example, bias: torch.Tensor) -> torch.Tensor:
    """Classes (1, N) of the reduced architecture with keys, keys and a bias (1 + N, 1 + N)."""
    tokens = example.tokens
    _, k, v = tokens.qkv(tokens.depth)
    weights = torch.softmax(k @ k.mT / k.shape[-1] ** 0.5 + bias, dim=-1)
    stream = tokens.block(tokens.depth).merge(weights @ v)
    return (normalize(tokens.read_out(stream[:, 1:]), dim=-1) @ example.text.T).argmax(-1)


def exercise_1() -> float:
    """A box of radius 1.5 instead of the Gaussian: the share of patches with the same class."""
    example = load_example(ovss.load_backbone())
    box = pad((analysis.patch_distances(example.tokens.grid) <= 1.5).float(), (1, 0, 1, 0))
    gaussian = label_map(example, gaussian_window(example.tokens.grid, 5.0, torch.device("cpu")))
    library = ovss.create_method("naclip").patch_scores(example.tokens, example.text).flatten(2).argmax(1)
    assert torch.equal(gaussian, library)
    agreement = float((label_map(example, box) == gaussian).float().mean())
    assert agreement > 0.5, "a bias of at most 1 is a preference, whatever its shape"
    return agreement


def exercise_2() -> tuple[float, float]:
    """Omega times 4: attention moves closer to the patch. Returns the mean distances for factors 1 and 4."""
    tokens = load_example(ovss.load_backbone()).tokens
    _, k, _ = tokens.qkv(tokens.depth)
    logits = k @ k.mT / k.shape[-1] ** 0.5
    window = gaussian_window(tokens.grid, 5.0, logits.device)
    distances = []
    for factor in (1.0, 4.0):
        maps = analysis.between_patches(torch.softmax(logits + factor * window, dim=-1))
        distances.append(float(analysis.mean_distance(maps, tokens.grid).mean()))
    assert distances[1] < distances[0]
    return distances[0], distances[1]


def exercise_3() -> torch.Tensor:
    """Omega of 4 x 7 patches, sigma 2, from one table of squared distances."""
    omega = torch.exp(-(analysis.patch_distances((4, 7)) ** 2) / (2 * 2.0**2))
    assert torch.allclose(omega, gaussian_window((4, 7), 2.0, torch.device("cpu"))[1:, 1:], atol=1e-6)
    return omega
