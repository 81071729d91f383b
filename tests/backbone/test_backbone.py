"""The backbone reads CLIP block by block without changing what CLIP computes."""

import copy
import gc
import weakref

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from PIL import Image

from ovss.backbone import Backbone, load_backbone
from ovss.backbone.folding import run_mlp
from ovss.backbone.native import NativeBlock
from ovss.errors import InputError


def random_backbone(name: str, seed: int = 0) -> Backbone:
    return load_backbone(name, None if name == "tiny" else "random", seed=seed)


def pictures(size: int, count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["ViT-B-16-quickgelu", "ViT-B-32", "tiny"])
def test_cls_read_out_is_encode_image(name):
    backbone = random_backbone(name)
    images = pictures(backbone.image_size)
    tokens = backbone.encode_tokens(images)
    ours = backbone.read_out(tokens.hidden(backbone.depth))[:, 0]
    theirs = backbone.encode_image(images)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.slow
def test_cls_read_out_is_encode_image_for_vit_l():
    backbone = random_backbone("ViT-L-14")
    images = pictures(224, count=1)
    tokens = backbone.encode_tokens(images, layers=[24])
    ours, theirs = backbone.read_out(tokens.hidden(24))[:, 0], backbone.encode_image(images)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_non_native_size_agrees_with_open_clips_own_resized_embedding(base):
    images = pictures(320, count=1)
    larger = open_clip.create_model("small-quickgelu", force_image_size=320).eval()
    state = copy.deepcopy(base.model.state_dict())
    from open_clip.model import resize_pos_embed

    resize_pos_embed(state, larger)
    larger.load_state_dict(state)
    tokens = base.encode_tokens(images, layers=[12], position="antialias")
    with torch.no_grad():
        theirs = larger.encode_image(images)
    assert (base.read_out(tokens.hidden(12))[:, 0] - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_block_parts_add_up_to_the_block(base):
    tokens = base.encode_tokens(pictures(224))
    x, block = tokens.hidden(11), base.block(12)
    q, k, v = tokens.qkv(12)
    y = x + block.merge(F.scaled_dot_product_attention(q, k, v))
    assert torch.allclose(y + block.ffn(y), block.module(x), atol=1e-5)
    assert torch.allclose(tokens.hidden(12), block.module(x), atol=1e-5)
    assert torch.allclose(block.value(x), v, atol=1e-6)
    for got, expected in zip(block.kv(x), (k, v), strict=True):
        assert torch.allclose(got, expected, atol=1e-6)
    assert torch.equal(block.norm(x), block.module.ln_1(x))


def test_position_table_follows_the_published_scale_rule(base):
    table = base.position_embedding((9, 5), "scale")
    native = base.model.visual.positional_embedding
    patches = native[1:].T.reshape(1, -1, 7, 7)
    oracle = F.interpolate(patches, scale_factor=(9.1 / 7, 5.1 / 7), mode="bicubic", align_corners=False)
    assert torch.equal(table[0], native[0])
    assert torch.allclose(table[1:], oracle[0].flatten(1).T)


@pytest.mark.parametrize("grid", [(1, 1), (7, 28), (28, 7), (14, 14), (35, 70), (3, 50), (49, 1)])
@pytest.mark.parametrize("rule", ["scale", "size", "antialias"])
def test_position_table_has_a_row_per_patch(base, grid, rule):
    assert len(base.position_embedding(grid, rule)) == 1 + grid[0] * grid[1]


def test_native_grid_uses_the_trained_table_and_an_equal_count_does_not(base):
    native = base.model.visual.positional_embedding
    assert base.position_embedding((7, 7)) is native
    assert not torch.allclose(base.position_embedding((1, 49)), native)


def test_only_wanted_states_are_kept_and_later_blocks_do_not_run(base, monkeypatch):
    calls = []
    for number, module in enumerate(base.model.visual.transformer.resblocks, 1):
        norm = module.ln_2
        monkeypatch.setattr(norm, "forward", lambda x, n=number, f=norm.forward: calls.append(n) or f(x))
    tokens = base.encode_tokens(pictures(224), layers=[5, 11])
    assert tokens.kept == (5, 11)
    assert calls == list(range(1, 12))
    last = tokens.hidden(12)
    assert calls == list(range(1, 13))
    assert tokens.hidden(12) is last
    with pytest.raises(InputError, match="hidden state 3 was not kept"):
        tokens.hidden(3)


def test_queries_keys_values_are_those_of_the_pass(base, monkeypatch):
    tokens = base.encode_tokens(pictures(224), layers=[3, 11])
    assert tokens.qkv(12)[0] is tokens.qkv(12)[0]
    monkeypatch.setattr(NativeBlock, "qkv", None)  # those of a block whose input was wanted and that has run are there
    assert tokens.qkv(4)[0].shape == (2, 4, 50, 16)


def test_an_ingredient_is_made_once_for_a_pass_and_goes_with_it(base):
    tokens, made = base.encode_tokens(pictures(224), layers=[11]), []

    def make():
        made.append(torch.zeros(3))
        return made[-1]

    assert tokens.shared(("a", 1), make) is tokens.shared(("a", 1), make)
    assert tokens.shared(("a", 2), make) is not tokens.shared(("a", 1), make)
    assert len(made) == 2
    held = weakref.ref(made[0])
    del tokens
    made.clear()
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folding_quick_gelu_moves_nothing_but_rounding_and_no_weight(base, dtype):
    block = copy.deepcopy(base.model.visual.transformer.resblocks[4]).to(dtype)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    x = 3 * torch.randn(2, 50, 64, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert isinstance(block.mlp.gelu, QuickGELU)
    plain = block.mlp(x)
    assert (run_mlp(block.mlp, x) - plain).abs().max() <= 4 * torch.finfo(dtype).eps * plain.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    x.requires_grad_()
    ours, theirs = (torch.autograd.grad(found.square().sum(), x) for found in (run_mlp(block.mlp, x), block.mlp(x)))
    torch.testing.assert_close(ours, theirs)


def test_a_batch_gives_what_each_image_gives(base):
    images = pictures(224, count=3)
    together = base.encode_tokens(images, layers=[12]).hidden(12)
    for i in range(3):
        alone = base.encode_tokens(images[i : i + 1], layers=[12]).hidden(12)
        assert torch.allclose(together[i], alone[0], atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.encode_tokens(torch.zeros(1, 3, 100, 224)), "100x224 is not a multiple of the patch size 32"),
        (lambda b: b.encode_tokens(torch.zeros(3, 224, 224)), "must be"),
        (lambda b: b.encode_tokens(torch.zeros(1, 3, 64, 64), layers=[13]), r"part of 0\.\.12"),
        (lambda b: b.encode_tokens(torch.zeros(1, 3, 64, 64), position="cubic"), "position rule 'cubic'"),
        (lambda b: b.encode_tokens(torch.zeros(1, 3, 64, 64)).hidden(13), r"outside 0\.\.12"),
        (lambda b: b.encode_tokens(torch.zeros(1, 3, 64, 64)).qkv(0), r"outside 1\.\.12"),
        (lambda b: b.encode_text(["word " * 100]), "has 102 tokens"),
    ],
)
def test_misuse_is_named(base, call, message):
    with pytest.raises(InputError, match=message):
        call(base)


def test_text_embeddings_are_open_clips(base):
    texts = ["a photo of a cat.", "a dog"]
    with torch.no_grad():
        theirs = base.model.encode_text(open_clip.get_tokenizer("small")(texts))
    assert torch.allclose(base.encode_text(texts), theirs, atol=1e-6)
    assert torch.allclose(base.encode_text(texts, batch_size=1), theirs, atol=1e-5)


def test_preprocess_normalises_and_never_resizes(base):
    picture = Image.new("RGB", (31, 7), (255, 0, 128))
    tensor = base.preprocess(picture)
    assert tensor.shape == (3, 7, 31)
    expected = (np.array([255, 0, 128]) / 255 - open_clip.OPENAI_DATASET_MEAN) / open_clip.OPENAI_DATASET_STD
    assert np.allclose(tensor[:, 3, 3].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50", r"is not a plain vision transformer \(ModifiedResNet\)"),
        ("ViT-B-61", "Did you mean 'ViT-B-16'"),
    ],
)
def test_models_that_cannot_be_read_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_backbone(name, "random")


@pytest.mark.parametrize(("device", "dtype", "message"), [("gpu", "auto", "gpu"), ("cpu", "float8", "float8")])
def test_unknown_device_and_dtype_are_named(device, dtype, message):
    with pytest.raises(InputError, match=message):
        load_backbone("tiny", device=device, dtype=dtype)


def test_the_weights_hash_does_not_depend_on_the_number_format():
    assert load_backbone("tiny").weights_hash == load_backbone("tiny", dtype="bfloat16").weights_hash


def test_words_without_trained_embedding_are_named_for_tiny():
    tiny = load_backbone("tiny")
    assert tiny.unknown_words(["a photo of grass", "a zeppelin"]) == ["zeppelin"]
