"""A batch gives what each of its images gives alone, whatever the grid, depth, heads and batch size."""

from functools import lru_cache

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from method_helpers import NEEDED, random_backbone

from ovss.methods import create_method, list_methods

PATCH = 8
VARIANTS = [
    *((name, NEEDED.get(name, {})) for name in list_methods()),
    ("naclip", {"similarity": "none"}),
    ("scclip", {"detector": "lof"}),
    ("scclip", {"detector": "norm"}),
    ("scclip", {"two_pass": "sum"}),
    ("cliptrase", {"denoise": "dice", "naming": "mean"}),
    ("clipseg_aaai25", {"attention": ("self",), "values": "last"}),
    ("clip_surgery", {"feature_surgery": True}),
    ("sfp", {"detector": "norm", "outliers": 3}),
    ("dihclip", {"heads": 1}),
    ("pearl", {"steps": 12, "alpha": 0.3}),
    ("cliper", {"normalise": "once", "layer": 3}),
    ("glaclip", {"size_gamma": False, "rounds": 0}),
    ("proxyclip", {"own_block": 4, "beta": 1.0}),
]


@lru_cache
def backbone(depth, heads):
    return random_backbone(depth=depth, heads=heads, width=32, embed=16, patch=PATCH, size=4 * PATCH, gain=1.5)


def outputs(method, tokens, text):
    rows = method.patch_embeddings(tokens)
    scores = method.patch_scores(tokens, text)
    pixels = torch.nn.functional.interpolate(scores, scale_factor=PATCH, mode="bilinear")
    return rows, scores, method.class_scores(tokens, text), method.refine_scores(pixels, tokens)


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    grid=st.tuples(st.integers(1, 7), st.integers(2, 7)),
    depth=st.sampled_from([6, 12, 24, 32]),
    heads=st.sampled_from([1, 2, 4]),
    batch=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_batching_changes_nothing(grid, depth, heads, batch, seed):
    model = backbone(depth, heads)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, grid[0] * PATCH, grid[1] * PATCH, generator=generator)
    text = torch.nn.functional.normalize(torch.randn(3, 16, generator=generator), dim=-1)
    whole = model.encode_tokens(images)
    parts = [model.encode_tokens(image[None]) for image in images]
    patches, height, width = grid[0] * grid[1], grid[0] * PATCH, grid[1] * PATCH
    shapes = [(batch, patches, 16), (batch, 3, *grid), (batch, 3), (batch, 3, height, width)]
    for name, parameters in VARIANTS:
        method = create_method(name, **parameters)
        together = outputs(method, whole, text)
        assert [tuple(output.shape) for output in together] == shapes
        assert all(output.dtype == torch.float32 for output in together)
        torch.testing.assert_close(together[0].norm(dim=-1), torch.ones(batch, patches))
        alone = [outputs(method, part, text) for part in parts]
        for output, single in zip(together, zip(*alone, strict=True), strict=True):
            difference = (output - torch.cat(single)).abs().max()
            assert difference < 1e-5, f"{method.label} differs by {difference:.1e}"


def test_neighbours_in_the_batch_are_not_seen():
    model = backbone(12, 2)
    generator = torch.Generator().manual_seed(0)
    image, calm, loud = torch.randn(3, 3, 5 * PATCH, 6 * PATCH, generator=generator)
    text = torch.eye(3, 16)
    first = model.encode_tokens(torch.stack([image, calm]))
    second = model.encode_tokens(torch.stack([image, 30 * loud]))
    for name, parameters in VARIANTS:
        method = create_method(name, **parameters)
        for one, other in zip(outputs(method, first, text), outputs(method, second, text), strict=True):
            assert (one[0] - other[0]).abs().max() < 1e-5, method.label


def test_what_methods_share_on_a_pass_changes_none_of_them():
    model = backbone(12, 2)
    pixels = torch.randn(2, 3, 4 * PATCH, 5 * PATCH, generator=torch.Generator().manual_seed(0))
    methods = [create_method(name, **parameters) for name, parameters in VARIANTS]

    def fresh():
        return model.encode_tokens(pixels)

    alone = [method.patch_embeddings(fresh()) for method in methods]
    for order in (range(len(methods)), reversed(range(len(methods)))):
        tokens = fresh()
        for number in order:
            assert torch.equal(methods[number].patch_embeddings(tokens), alone[number]), methods[number].label
