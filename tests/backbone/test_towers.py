"""Every family of image towers is read as its own library computes it, and what cannot be read is refused by name."""

import copy
import csv
import math
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from paths import ROOT
from PIL import Image
from small_towers import FAMILIES, TRUNKS, small_model, small_tower

from ovss.backbone import Backbone, conformance, describe_model, list_models, load_backbone
from ovss.backbone.catalogue import measure_model
from ovss.backbone.conform import shake
from ovss.backbone.image_only import build_image_tower
from ovss.backbone.native import NativeTower, input_projection
from ovss.backbone.timm_eva import PostNormBlock, RotaryBlock
from ovss.backbone.timm_vit import VitBlock, VitTower
from ovss.backbone.tokenizers import StandInTokenizer
from ovss.errors import InputError


def pixels(*size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def wrap(model, name: str = "random") -> Backbone:
    return Backbone(model, name=name, pretrained="random", tokenizer=None, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_and_read_out_agree_with_the_model_itself(family):
    errors = conformance(small_tower(family))
    assert errors.keys() == {"pooled", "one_hot"}
    assert max(errors.values()) <= 1e-5


def test_values_that_are_not_finite_do_not_conform():
    model = small_model("vit_map")
    model.visual.trunk.blocks[2].attn.proj.bias.data[3] = torch.nan
    assert conformance(wrap(model)) == {"pooled": math.inf, "one_hot": math.inf}


@pytest.mark.parametrize("name", ["PE-Core-T-16-384", "MobileCLIP2-B"])
def test_towers_of_published_size_agree_too(name):
    model = build_image_tower(name)
    shake(model)
    backbone = wrap(model, name)
    assert max(conformance(backbone, pixels(*backbone.native_size, count=1)).values()) <= 1e-5


def unrotated(self, x):
    return x


def without_layer_scale(self, x):
    return self.module.mlp(self.module.norm2(x))


def without_post_norm(self, x):
    return self.module.mlp(x)


def class_token_alone(self, x):
    return self.dense(x[:, 0])


def without_pool(self, x):
    return self.visual.head(self.trunk.head(self.trunk.norm(x)))


def without_norm_of_keys(self, x):
    pool = self.visual.attn_pool
    return self.visual.ln_post(pool.attn.out_proj(input_projection(pool.attn, x, 2))) @ self.visual.proj


@pytest.mark.parametrize(
    ("family", "part", "name", "wrong", "measure"),
    [
        ("average", NativeTower, "pooled", class_token_alone, "pooled"),
        ("coca", NativeTower, "dense", without_norm_of_keys, "one_hot"),
        ("vit_map", VitTower, "dense", without_pool, "one_hot"),
        ("vit_average", VitBlock, "ffn", without_layer_scale, "pooled"),
        ("eva02", RotaryBlock, "_rotate", unrotated, "pooled"),
        ("pe_core", RotaryBlock, "_rotate", unrotated, "pooled"),
        ("eva02_post_norm", PostNormBlock, "ffn", without_post_norm, "pooled"),
    ],
)
def test_the_check_finds_a_part_that_is_read_wrongly(monkeypatch, family, part, name, wrong, measure):
    monkeypatch.setattr(part, name, wrong)
    assert conformance(small_tower(family))[measure] > 1e-3


@pytest.mark.parametrize("family", TRUNKS)
@pytest.mark.parametrize("size", [(64, 48), (80, 40), (48, 64)])
def test_another_grid_is_that_of_the_library_resized_to_it(family, size):
    backbone = small_tower(family)
    resized = copy.deepcopy(backbone.model)
    resized.visual.set_input_size(size)
    images = pixels(*size)
    with torch.no_grad():
        theirs = resized.encode_image(images)
    ours = backbone.encode_tokens(images, position="antialias").image_embedding()
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_a_native_size_with_a_rest_of_less_than_a_patch_is_read_as_the_model_does():
    model = small_model("vit_map")
    model.visual.trunk.set_input_size((48, 64))
    model.visual.trunk.patch_embed.img_size = (53, 64)
    backbone = wrap(model)
    assert (backbone.native_size, backbone.native_grid, backbone.image_size) == ((53, 64), (6, 8), 48)
    assert max(conformance(backbone).values()) <= 1e-5
    with pytest.raises(InputError, match="52x64 is not a multiple of the patch size 8"):
        backbone.encode_tokens(pixels(52, 64))


@pytest.mark.parametrize("family", ["class_token", "vit_map", "eva02", "pe_core"])
@pytest.mark.parametrize(("dtype", "bar"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_is_near_the_single_one(family, dtype, bar):
    backbone, images = wrap(small_model(family).to(dtype)), pixels(64, 64)
    tokens = backbone.encode_tokens(images)
    exact = small_tower(family).encode_tokens(images).image_embedding()
    assert all(part.dtype == dtype for part in (*tokens.qkv(2), tokens.dense(), tokens.image_embedding()))
    assert (tokens.image_embedding() - exact).abs().max() <= bar * exact.abs().max()
    assert max(conformance(backbone).values()) <= bar


@pytest.mark.parametrize("family", FAMILIES)
def test_prefix_tokens_come_first_and_patches_row_by_row(family):
    backbone = small_tower(family)
    tokens = backbone.encode_tokens(pixels(40, 56))
    assert tokens.grid == (5, 7)
    assert tokens.hidden(0).shape == (2, backbone.prefix + 35, 48)
    assert tokens.patches(4).shape == (2, 35, 48)
    assert tokens.dense().shape == (2, 35, backbone.embed_dim)
    torch.testing.assert_close(tokens.dense(), tokens.read_out(tokens.hidden(4))[:, backbone.prefix :])
    blank = pixels(40, 56) * 0
    blank[:, :, 8:16, 16:24] = 3.0  # row 1, column 2
    changed = backbone.encode_tokens(blank, layers=[0]).patches(0) - backbone.encode_tokens(blank * 0, [0]).patches(0)
    assert changed.abs().amax(-1).argmax(-1).tolist() == [9, 9]


@pytest.mark.parametrize("family", TRUNKS)
def test_a_block_takes_patches_without_the_tokens_in_front(family):
    tokens = small_tower(family).encode_tokens(pixels(40, 56))
    block = tokens.block(3)
    for whole, patches in zip(tokens.qkv(3), block.qkv(tokens.patches(2)), strict=True):
        assert torch.allclose(whole[:, :, tokens.prefix :], patches, atol=1e-5)
    for got, expected in zip(block.kv(tokens.hidden(2)), tokens.qkv(3)[1:], strict=True):
        assert torch.equal(got, expected)
    assert torch.equal(block.value(tokens.hidden(2)), tokens.qkv(3)[2])


def test_coca_answers_at_unit_length_as_its_model_does():
    backbone = small_tower("coca")
    lengths = backbone.encode_tokens(pixels(48, 64)).image_embedding().norm(dim=-1)
    assert torch.allclose(lengths, torch.ones(2))


def test_every_configuration_of_open_clip_is_described():
    found = {facts.name: facts for facts in list_models()}
    assert set(open_clip.list_models()) - {"ovss-tiny"} == set(found)
    assert sum(facts.taken for facts in found.values()) >= 115
    for facts in found.values():
        assert facts.taken == bool(facts.patch_size and facts.parameters and facts.pooling), facts.name
        assert facts.tags == tuple(open_clip.list_pretrained_tags_by_model(facts.name))
    siglip = found["ViT-SO400M-14-SigLIP-384"]
    assert (siglip.patch_size, siglip.native_size, siglip.image_size) == (14, (384, 384), 378)
    assert (siglip.pooling, siglip.class_token, siglip.tokenizer) == ("attention", False, "timm/ViT-B-16-SigLIP")
    assert found["PE-Core-L-14-336"].class_token
    assert not found["PE-Core-bigG-14-448"].class_token
    assert found["ViT-L-14-CLIPA"].pooling == "average"


def test_every_tower_that_was_checked_conforms():
    with (ROOT / "ovss" / "backbone" / "models.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["refused"]]
    checked = [row for row in rows if row["blocks_checked"]]
    assert {row["family"] for row in checked} == {"open_clip ViT", "timm ViT", "timm Eva"}
    for row in checked:
        assert max(float(row["pooled"]), float(row["one_hot"])) <= 1e-5, row["model"]


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-16-SigLIP2-512", "EVA02-B-16", "ViT-L-14-CLIPA-336", "RN50"])
def test_the_shipped_table_says_what_the_built_tower_says(name):
    assert describe_model(name) == measure_model(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50", r"model 'RN50' is not a plain vision transformer \(ResNet\)"),
        ("convnext_base", r"not a plain vision transformer \(timm convnext\)"),
        ("MobileCLIP-S1", r"not a plain vision transformer \(timm fastvit\)"),
        ("vit_relpos_medium_patch16_cls_224", r"not a plain vision transformer \(timm vision_transformer_relpos\)"),
        ("ViT-X", "model 'ViT-X' is unknown"),
    ],
)
def test_towers_that_cannot_be_read_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        build_image_tower(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda visual: setattr(visual.trunk, "global_pool", "max"), "pools by 'max'"),
        (lambda visual: setattr(visual.trunk.attn_pool, "latent_len", 2), "non-standard attention pool"),
        (lambda visual: setattr(visual.trunk.blocks[1], "attn", torch.nn.Identity()), "non-standard block"),
    ],
)
def test_parts_of_which_nothing_is_known_are_refused(change, message):
    model = small_model("vit_map")
    change(model.visual)
    with pytest.raises(InputError, match=f"model 'mine' .*{message}"):
        wrap(model, "mine")


class _Hub:
    """A tokenizer of the hub: strings to ids with an end token, padded with 1."""

    context_length = 64
    clean_fn = staticmethod(str.lower)

    @staticmethod
    def tokenizer(text):
        return SimpleNamespace(input_ids=[5 + len(word) for word in text.split()] + [2])

    def __call__(self, texts):
        ids = [self.tokenizer(self.clean_fn(text)).input_ids for text in texts]
        return torch.tensor([(row + [1] * self.context_length)[: self.context_length] for row in ids])


def test_a_text_too_long_for_a_tokenizer_of_the_hub_is_refused_and_not_cut_off():
    model = small_model("vit_map")
    backbone = Backbone(model, name="s", pretrained="x", tokenizer=_Hub(), mean=(0.5,) * 3, std=(0.5,) * 3)
    texts = ["a cat", "a brown dog on a lawn"]
    assert torch.allclose(backbone.encode_text(texts), model.encode_text(_Hub()(texts)), atol=1e-6)
    with pytest.raises(InputError, match="has 65 tokens; s reads 64"):
        backbone.encode_text(["dog " * 64])


def test_a_tokenizer_that_is_not_there_is_named_with_the_file_to_fetch(monkeypatch, tmp_path):
    from ovss.backbone import tokenizers

    def fail(*_, **__):
        raise OSError("we couldn't connect\nsecond line")

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    model = small_model("vit_map")
    with pytest.raises(InputError, match=r"connect\); fetch tokenizer.json .* of timm/ViT-B-16-SigLIP2 and put them"):
        tokenizers.load_tokenizer("ViT-B-16-SigLIP2", model, random=False)
    (tmp_path / "tokenizer.json").write_text("{}")
    asked = []
    monkeypatch.setattr(tokenizers, "HFTokenizer", lambda *names, **options: asked.append((names, options)))
    tokenizers.load_tokenizer("ViT-B-16-SigLIP2", model, random=False, file=tmp_path / "weights.safetensors")
    context = {"context_length": 64, "tokenizer_mode": None, "clean": "canonicalize"}
    assert asked == [((str(tmp_path),), context)]
    assert isinstance(tokenizers.load_tokenizer("ViT-B-16-SigLIP2", model, random=True), StandInTokenizer)


def test_random_weights_take_the_settings_of_the_family_and_a_text_tower_for_form_where_theirs_is_not_there():
    backbone = load_backbone("nllb-clip-base-siglip", "random", dtype="float32", device="cpu")
    assert backbone.encode_text(["a cat", "two dogs"]).shape == (2, 768)
    assert backbone.logit_bias == -10
    assert small_tower("class_token").logit_bias is None
    white = backbone.preprocess(Image.fromarray(np.full((4, 5, 3), 255, np.uint8)))
    assert torch.equal(white, torch.ones(3, 4, 5))
