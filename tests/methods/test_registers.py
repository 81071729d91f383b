"""Test-time registers: what neurons wrote on patches is written on a token outside the image, and nowhere else."""

import numpy as np
import pytest
import torch
from method_helpers import random_backbone

from ovss.backbone import JoinedTokens
from ovss.errors import InputError
from ovss.ingredients import Register, find_register_neurons
from ovss.methods import create_method
from ovss.methods.registry import parse_method

NEURONS = ((1, 3), (1, 8), (4, 0), (4, 200))


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone()
    return backbone.encode_tokens(torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0)))


def layer_norm(x, norm):
    x = x - x.mean(-1, keepdims=True)
    scale, shift = (part.detach().double().numpy() for part in (norm.weight, norm.bias))
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.eps) * scale + shift


def linear(x, weight, bias):
    return x @ weight.detach().double().numpy().T + bias.detach().double().numpy()


def transcribed(backbone, x, neurons):
    """The pass in double precision with the register last, as in the authors' code; CLS, patches, register."""
    from scipy.special import erf

    visual = backbone.model.visual
    x = np.concatenate([x, layer_norm(np.zeros((1, x.shape[1])), visual.ln_pre)])
    for number, block in enumerate(visual.transformer.resblocks, 1):
        q, k, v = np.split(linear(layer_norm(x, block.ln_1), block.attn.in_proj_weight, block.attn.in_proj_bias), 3, 1)
        heads = []
        for part in range(4):
            one = slice(16 * part, 16 * part + 16)
            logits = q[:, one] @ k[:, one].T / 4
            weights = np.exp(logits - logits.max(1, keepdims=True))
            heads.append(weights / weights.sum(1, keepdims=True) @ v[:, one])
        x = x + linear(np.concatenate(heads, 1), block.attn.out_proj.weight, block.attn.out_proj.bias)
        fired = linear(layer_norm(x, block.ln_2), block.mlp.c_fc.weight, block.mlp.c_fc.bias)
        fired = fired * (1 + erf(fired / np.sqrt(2))) / 2
        for where, neuron in neurons:
            if where == number:
                fired[-1, neuron] = max(fired[:, neuron])
                fired[1:-1, neuron] = 0
        x = x + linear(fired, block.mlp.c_proj.weight, block.mlp.c_proj.bias)
    return x


def test_the_pass_is_that_of_the_authors_code(tokens):
    own = tokens.intervened(Register(NEURONS))
    assert own.prefix == 2
    for image in range(2):
        expected = transcribed(tokens.backbone, tokens.hidden(0)[image].double().numpy(), NEURONS)
        got = own.hidden(12)[image]
        np.testing.assert_allclose(got[0], expected[0], atol=2e-3)
        np.testing.assert_allclose(got[2:], expected[1:-1], atol=2e-3)
        np.testing.assert_allclose(got[1], expected[-1], atol=2e-3)
    assert tokens.hidden(12).shape[1] == 36


def test_patches_are_read_out_of_the_last_block_of_that_pass(tokens):
    got = create_method("registers", neurons=NEURONS).patch_embeddings(tokens)
    own = tokens.intervened(Register(NEURONS))
    expected = torch.nn.functional.normalize(tokens.read_out(own.hidden(12)[:, 2:]), dim=-1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    keys = create_method("registers", neurons=NEURONS, kernel="kk", residual=False, ffn=False).patch_embeddings(tokens)
    assert not torch.allclose(keys, got, atol=1e-2)


def test_encoding_with_a_register_is_the_same_pass(tokens):
    images = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    direct = tokens.backbone.encode_tokens(images, layers=[3, 6], intervene=Register(NEURONS))
    assert direct.prefix == 2
    assert torch.equal(direct.hidden(6), tokens.intervened(Register(NEURONS)).hidden(6))


def test_neurons_that_write_nothing_to_the_image_leave_the_register_alone_changed():
    """A neuron whose output weights are zero: moving it changes nothing, so the pass is that with a silent token."""
    backbone = random_backbone(depth=3)
    for block in backbone.model.visual.transformer.resblocks:
        block.mlp.c_proj.weight.data[:, 5] = 0
    tokens = backbone.encode_tokens(torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(2)))
    moved = tokens.intervened(Register(((1, 5), (2, 5), (3, 5)))).hidden(3)
    torch.testing.assert_close(moved, tokens.intervened(Register(())).hidden(3), atol=1e-5, rtol=1e-5)


def test_joined_windows_keep_their_registers_in_front(tokens):
    joined = JoinedTokens([tokens], torch.tensor([[0, 0], [0, 24]])).intervened(Register(NEURONS))
    assert joined.prefix == 4
    own = tokens.intervened(Register(NEURONS)).hidden(2)
    torch.testing.assert_close(joined.hidden(2)[0, 4:], own[:, 2:].flatten(0, 1))


def test_neurons_are_those_that_fire_most_at_outliers():
    backbone = random_backbone(depth=4)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    tokens = backbone.encode_tokens(images)
    norms = tokens.hidden(4).norm(dim=-1)
    limit = float(norms.flatten().sort().values[-4:-2].mean())  # three tokens are longer, none by a rounding error
    scores = np.zeros((2, 256))
    chosen = [image for image in range(3) if (norms[image] > limit).any()]
    for image in chosen:
        far = (norms[image] > limit).nonzero().flatten()
        for number in (1, 2):
            block = backbone.block(number).module
            x = tokens.hidden(number - 1)[image : image + 1]
            x = x + block.attention(block.ln_1(x))
            fired = torch.nn.functional.gelu(block.mlp.c_fc(block.ln_2(x)))[0, far]
            scores[number - 1] += fired.abs().mean(0).detach().numpy() / len(chosen)
    order = np.argsort(-scores.ravel(), kind="stable")[:5]
    expected = tuple((int(place // 256 + 1), int(place % 256)) for place in order)
    assert find_register_neurons(backbone, images.split(2), norm=limit, highest=2, count=5) == expected
    found = create_method("registers").find(backbone, [images], norm=limit, highest=2, count=5)
    assert found.neurons == expected
    assert found.patch_embeddings(tokens).shape == (3, 16, 32)
    assert parse_method(found.label) == found
    assert create_method("registers", **found.parameters) == found
    with pytest.raises(InputError, match="no token of these images is longer than norm=1000"):
        find_register_neurons(backbone, [images], norm=1000.0, highest=2, count=5)
    with pytest.raises(InputError, match=r"highest=5 is outside 1\.\.4"):
        find_register_neurons(backbone, [images], norm=1.0, highest=5, count=5)


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ((), r"registers: neurons=\(\) is empty"),
        (((13, 0),), r"registers: neurons=13 is outside 1\.\.12"),
        (((1, 256),), r"registers: neuron 256 is outside 0\.\.255"),
        (((1, -1),), r"registers: neuron -1 is outside 0\.\.255"),
    ],
)
def test_neurons_that_are_not_there_are_refused(tokens, neurons, message):
    with pytest.raises(InputError, match=message):
        create_method("registers", neurons=neurons).patch_embeddings(tokens)
