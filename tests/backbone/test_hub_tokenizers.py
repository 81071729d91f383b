"""A tokenizer file of the hub, read by transformers from beside the checkpoint file."""

import json

import pytest
import torch
from small_towers import small_model

from ovss.backbone import Backbone
from ovss.backbone.tokenizers import count_tokens, load_tokenizer
from ovss.errors import InputError

pytest.importorskip("transformers", reason="transformers (pip install 'ovss[text]') reads tokenizers of the hub")

WORDS = ["<pad>", "</s>", "<unk>", "a", "cat", "dog", "on", "lawn"]


@pytest.fixture
def checkpoint(tmp_path):
    """Where a checkpoint file would be; beside it a tokenizer of whole words, with an end token as SigLIP's has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", ids["</s>"])])
    made.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"unk_token": "<unk>"}))
    return tmp_path / "weights.safetensors"


def test_texts_are_cleaned_ended_and_padded_as_the_model_was_trained(checkpoint):
    model = small_model("vit_map")
    tokenizer = load_tokenizer("ViT-B-16-SigLIP2", model, random=False, file=checkpoint)
    expected = torch.zeros(2, model.context_length, dtype=torch.long)
    expected[0, :3] = torch.tensor([WORDS.index(word) for word in ("a", "cat", "</s>")])
    expected[1, :6] = torch.tensor([WORDS.index(word) for word in ("a", "dog", "on", "a", "<unk>", "</s>")])
    assert torch.equal(tokenizer(["A cat.", "a Dog, on a roof"]), expected)
    assert count_tokens(tokenizer, "a dog on a lawn") == 6


def test_the_text_tower_reads_its_ids_and_refuses_what_is_too_long(checkpoint):
    model = small_model("vit_map")
    tokenizer = load_tokenizer("ViT-B-16-SigLIP2", model, random=False, file=checkpoint)
    backbone = Backbone(model, name="s", pretrained="x", tokenizer=tokenizer, mean=(0.5,) * 3, std=(0.5,) * 3)
    texts = ["a cat", "a dog on a lawn"]
    assert torch.allclose(backbone.encode_text(texts), model.encode_text(tokenizer(texts)), atol=1e-6)
    with pytest.raises(InputError, match=r"has 71 tokens; s reads 64"):
        backbone.encode_text(["dog " * 70])
