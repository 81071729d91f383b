"""What heads add to a score adds up to it, by sums that are made another way, or the reason why not is said."""

import pytest
import torch
import torch.nn.functional as F
from method_helpers import NEEDED, random_backbone
from small_towers import FAMILIES, small_tower

from ovss.analysis.causal import head_scores
from ovss.errors import InputError
from ovss.methods import create_method, list_methods

REDUCED = {"residual": False, "ffn": False}
SPLIT = {"clearclip": {}, "maskclip": {}, "naclip": {}, "cliper": {}, "pearl": {}, "sclip": REDUCED, "clip": REDUCED}
LINEAR = ("average", "class_token", "clipa", "vit_stem", "vit_average", "eva")


def inputs(backbone, seed=0, size=(64, 48)):
    generator = torch.Generator().manual_seed(seed)
    text = F.normalize(torch.randn(5, backbone.embed_dim, generator=generator), dim=-1)
    return backbone.encode_tokens(torch.randn(2, 3, *size, generator=generator)), text


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPLIT)
def test_heads_and_biases_add_up_to_the_score(name, seed):
    backbone, method = random_backbone(depth=4, heads=4, width=64, seed=seed), create_method(name, **SPLIT[name])
    with torch.no_grad():  # norms and biases that matter
        for parameter in backbone.model.visual.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    tokens, text = inputs(backbone, seed)
    parts = head_scores(tokens, method, text)
    assert parts.shape == (2, 5, 5, 8, 6)
    assert (parts.sum(1) - method.patch_scores(tokens, text)).abs().max() < 1e-5
    assert (parts.abs().amax((0, 2, 3, 4)) > 1e-3).all(), "every head adds something"


def test_a_head_adds_its_slice_of_the_output_projection_under_the_norm_of_the_whole():
    backbone, method = random_backbone(depth=3, heads=2, width=32), create_method("naclip")
    tokens, text = inputs(backbone)
    block, visual = backbone.model.visual.transformer.resblocks[2], backbone.model.visual
    mixed = method.mix(tokens)[:, :, 1:].double()  # (B, 2, N, 16)
    weight, bias = block.attn.out_proj.weight.double(), block.attn.out_proj.bias.double()
    heads = [mixed[:, head] @ weight[:, 16 * head : 16 * head + 16].T for head in range(2)]
    whole = heads[0] + heads[1] + bias
    deviation = (whole.var(-1, correction=0, keepdim=True) + visual.ln_post.eps).sqrt()
    length = (
        F.layer_norm(whole, (32,), visual.ln_post.weight.double(), visual.ln_post.bias.double()) @ visual.proj.double()
    ).norm(dim=-1)
    for head, added in enumerate(heads):
        normed = (added - added.mean(-1, keepdim=True)) / deviation * visual.ln_post.weight.double()
        expected = (normed @ visual.proj.double() @ text.T.double() / length[..., None]).mT.unflatten(-1, (8, 6))
        assert torch.allclose(head_scores(tokens, method, text)[:, head].double(), expected, atol=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_towers_are_shared_out_or_refused_by_what_is_not_linear_in_them(family):
    backbone = small_tower(family)
    tokens, text = inputs(backbone, size=(64, 80))
    method = create_method("naclip")
    if family not in LINEAR:
        with pytest.raises(InputError, match=r"attention pool|norms its heads together"):
            head_scores(tokens, method, text)
        return
    parts = head_scores(tokens, method, text)
    assert (parts.sum(1) - method.patch_scores(tokens, text)).abs().max() < 1e-5


@pytest.mark.parametrize("name", sorted(set(list_methods()) - {name for name, options in SPLIT.items() if not options}))
def test_methods_that_do_more_are_refused_by_name(name):
    backbone = random_backbone(depth=4, heads=2, width=32)
    tokens, text = inputs(backbone)
    with pytest.raises(InputError, match=f"method '{name}"):
        head_scores(tokens, create_method(name, **NEEDED.get(name, {})), text)


def test_a_kept_residual_or_ffn_is_named():
    tokens, text = inputs(random_backbone(depth=3, heads=2, width=32))
    with pytest.raises(InputError, match="keeps the residual of the last block"):
        head_scores(tokens, create_method("clearclip", residual=True), text)
    with pytest.raises(InputError, match="keeps the residual and the FFN"):
        head_scores(tokens, create_method("naclip", arch="vanilla"), text)
