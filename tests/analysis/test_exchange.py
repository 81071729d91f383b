"""Attention or values taken from another image, against the same done by hand."""

import pytest
import torch
import torch.nn.functional as F
from method_helpers import random_backbone

from ovss.analysis.causal import exchanged, followed_image
from ovss.errors import InputError
from ovss.methods import create_method


@pytest.fixture(scope="module")
def passes():
    backbone = random_backbone(depth=3, heads=2, width=32)
    pixels = torch.randn(4, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    return backbone.encode_tokens(pixels[:2]), backbone.encode_tokens(pixels[2:])


def test_in_the_last_block_values_come_from_here_and_attention_from_there(passes):
    here, there = passes
    q, k, _ = there.qkv(3)
    _, _, v = here.qkv(3)
    method = create_method("sclip", residual=False, ffn=False)
    expected = here.block(3).merge((torch.softmax(q @ q.mT / 4, -1) + torch.softmax(k @ k.mT / 4, -1)) @ v)
    found = method.stream(exchanged(here, there, "attention"))
    assert torch.allclose(found, expected, atol=1e-5)


def test_blocks_after_the_exchange_see_what_follows_from_it(passes):
    here, there = passes
    block, x = here.block(2), here.hidden(1)
    q, k, _ = here.qkv(2)
    x = x + block.merge(F.scaled_dot_product_attention(q, k, there.qkv(2)[2]))
    expected = here.block(3).forward(x + block.ffn(x))
    changed = exchanged(here, there, "values", [2])
    assert torch.allclose(changed.hidden(3), expected, atol=1e-5)
    assert torch.equal(changed.hidden(1), here.hidden(1))
    assert not torch.allclose(here.hidden(3), expected, atol=1e-3), "the untouched pass stays"


def test_without_attention_the_label_follows_the_values(passes):
    here, there = passes
    text = F.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(1)), dim=-1)
    method = create_method("maskclip")
    values = followed_image(here, there, method, text, "values", images=["a", "b"])
    attention = followed_image(here, there, method, text, "attention")
    assert values["image"].tolist() == ["a", "b"]
    assert (values["patches"] > 0).all()
    assert (values[["own", "other", "neither"]].to_numpy() == [0, 1, 0]).all()
    assert (attention[["own", "other", "neither"]].to_numpy() == [1, 0, 0]).all()


def test_an_exchange_with_itself_changes_nothing(passes):
    here, _ = passes
    for what in ("attention", "values"):
        assert torch.equal(exchanged(here, here, what, [1, 2, 3]).hidden(3), here.hidden(3))


def test_what_does_not_fit_is_named(passes):
    here, there = passes
    with pytest.raises(InputError, match="what='keys' must be one of attention, values"):
        exchanged(here, there, "keys")
    with pytest.raises(InputError, match=r"block 4 is outside 1\.\.3"):
        exchanged(here, there, "values", [4])
    with pytest.raises(InputError, match="cannot take from 1"):
        exchanged(here, here.backbone.encode_tokens(torch.zeros(1, 3, 32, 40)), "values")
