"""Text towers of every kind answer as open_clip's do; those that cannot see padding are spared it."""

import pytest
import torch
from open_clip import CLIPVisionCfg, CustomTextCLIP
from small_towers import EMBED, TEXT, small_tower

from ovss.backbone import Backbone
from ovss.backbone.conform import shake

CONTEXT = TEXT["context_length"]
KINDS = {
    # EVA-02, PE-Core: causal, read at the end token, which has the highest number
    "causal": ({}, 7),
    # MetaCLIP 2: read at the end token of another tokenizer
    "causal, end by its number": ({"pool_type": "eos", "eos_id": 2}, 7),
    "causal, unprojected": ({"proj_type": "none", "width": EMBED}, 7),
    "causal, projected by a layer": ({"proj_bias": True}, 7),
    # SigLIP: every token sees the padding, and the last one is read
    "both ways": ({"no_causal_mask": True, "pool_type": "last"}, CONTEXT),
}
"""Settings of the tower, and how many tokens it has to compute with for texts of up to 7 tokens."""


class _Tokenizer:
    """Texts of numbers between a token that begins them and one that ends them, then padding."""

    context_length = CONTEXT

    def __init__(self, end):
        self.end = end

    def encode(self, text):
        return [int(word) for word in text.split()]

    def __call__(self, texts):
        rows = [[290, *self.encode(text), self.end] for text in texts]
        return torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])


def lengths_seen(tower) -> list[int]:
    """How many tokens each pass computes with, from now on."""
    found = []
    tower.transformer.register_forward_pre_hook(lambda _, given: found.append(given[0].shape[1]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_open_clips_and_padding_is_left_out_where_nothing_sees_it(kind):
    settings, longest = KINDS[kind]
    model = CustomTextCLIP(
        EMBED, CLIPVisionCfg(layers=1, width=16, head_width=8, patch_size=8, image_size=16), TEXT | settings
    )
    shake(model)
    tokenizer = _Tokenizer(settings.get("eos_id", 299))
    backbone = Backbone(model, name="s", pretrained="x", tokenizer=tokenizer, mean=(0.5,) * 3, std=(0.5,) * 3)
    texts = ["5 6 7 8 9", "11", "12 13 14", "21 22 23"]
    with torch.no_grad():
        theirs = model.encode_text(tokenizer(texts))
        seen = lengths_seen(model.text)
        assert torch.allclose(backbone.encode_text(texts), theirs, atol=1e-5)
        assert torch.allclose(backbone.encode_text(texts, batch_size=1), theirs, atol=1e-5)
    assert seen[0] == longest
    assert (min(seen) < longest) == (longest < CONTEXT)


def test_cocas_token_at_the_end_of_the_context_is_kept():
    backbone = small_tower("coca")
    texts = ["a cat", "two dogs on a lawn"]
    with torch.no_grad():
        theirs = backbone.model.encode_text(backbone.tokenizer(texts))
    assert torch.equal(backbone.encode_text(texts), theirs)
