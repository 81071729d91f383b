"""Every method runs on every family of image towers, or says in one line why it does not."""

import copy
import re

import pytest
import torch
from method_matrix import COLUMNS, GIVEN, PAGE, page
from small_towers import FAMILIES, small_tower

import ovss
from ovss.analysis import (
    anomaly_statistics,
    attention_of,
    attention_statistics,
    between_patches,
    coherence,
    global_statistics,
    method_attention,
    self_correlation_statistics,
)
from ovss.analysis.mixing import METHODS
from ovss.errors import InputError
from ovss.methods import create_method, resolve_methods
from ovss.segment.checks import check_methods
from ovss.segment.several import SeveralSegmenters

WITHOUT_CLS = ("vit_map", "vit_average", "pe_core_without_cls")


def tokens_of(family, size=(64, 80)):
    return small_tower(family).encode_tokens(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)))


def test_the_page_of_methods_by_tower_is_what_the_methods_do():
    assert set(COLUMNS) <= set(FAMILIES)
    found = page()
    assert found == PAGE.read_text(encoding="utf-8")
    assert found.count("yes") > 190
    reasons = [line for line in found.splitlines() if re.match(r"\d\. ", line)]
    assert len(reasons) == 5
    assert all("the model has none; " in line or "open_clip's own ViT only" in line for line in reasons)


@pytest.mark.parametrize("family", WITHOUT_CLS)
@pytest.mark.parametrize(
    ("name", "changed"),
    [("scclip", {}), ("scclip", {"two_pass": "sum"}), ("dihclip", {}), ("sfp", {"detector": "norm"})],
)
def test_a_model_without_class_token_is_taken_where_it_would_weigh_nothing(family, name, changed):
    tokens = tokens_of(family)
    with pytest.raises(InputError, match=rf"{name} adds the class token .* {family} has none; w_cls=0 leaves it out"):
        create_method(name, **changed).patch_embeddings(tokens)
    rows = create_method(name, w_cls=0.0, **changed).patch_embeddings(tokens)
    assert rows.shape == (2, 80, tokens.backbone.embed_dim)
    assert torch.allclose(rows.norm(dim=-1), torch.ones(2, 80), atol=1e-5)


def test_composed_regions_and_class_tokens_are_refused_too():
    tokens = tokens_of("vit_map")
    with pytest.raises(InputError, match="compose adds the class token"):
        create_method("compose", w_cls=0.3).patch_embeddings(tokens)
    method = create_method("compose", naming="mean")
    scores = torch.rand(2, 3, 64, 80)
    with pytest.raises(InputError, match=r"cliptrase clears its regions .* vit_map has none"):
        method.refine_scores(scores, tokens)


def test_windows_of_a_rotary_model_share_no_keys():
    offsets = torch.tensor([[0, 0], [0, 40]])
    method = create_method("glaclip")
    assert method.patch_embeddings(tokens_of("eva"), offsets).shape == (2, 80, 20)
    with pytest.raises(InputError, match="eva02 rotates each patch by its place in its own window"):
        method.patch_embeddings(tokens_of("eva02"), offsets)


@pytest.mark.parametrize("family", ["class_token", *WITHOUT_CLS, "pe_core"])
def test_the_plain_method_is_the_dense_feature_of_the_model(family):
    tokens = tokens_of(family)
    plain = create_method("clip", residual=True, ffn=True).patch_embeddings(tokens)
    expected = torch.nn.functional.normalize(tokens.dense(), dim=-1)
    assert torch.allclose(plain, expected, atol=1e-5)
    text = torch.eye(3, tokens.backbone.embed_dim)
    answer = torch.nn.functional.normalize(tokens.image_embedding(), dim=-1)
    assert torch.allclose(create_method("clip").class_scores(tokens, text), answer @ text.T, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_of_methods_is_among_patches_whatever_stands_in_front(family):
    tokens = tokens_of(family)
    for name in METHODS:
        options = GIVEN.get(name, {}) | ({"detector": "norm"} if name == "sfp" else {})
        maps = method_attention(tokens, create_method(name, **options))
        assert maps.shape[-2:] == (80, 80), name
        assert torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-4), name


@pytest.mark.parametrize("family", FAMILIES)
def test_measurements_run_on_every_family(family):
    tokens = tokens_of(family)
    truth = torch.arange(160).reshape(2, 8, 10).numpy() % 10 // 5
    for measured in (
        attention_statistics(tokens),
        global_statistics(tokens),
        anomaly_statistics(tokens),
        coherence(tokens, truth),
        self_correlation_statistics(tokens, truth),
    ):
        values = measured[~measured.measure.isin(["cls_share", "global_cls_overlap"])].value
        assert values.notna().mean() > 0.9
    shares = attention_statistics(tokens).query("measure == 'cls_share'").value
    assert shares.notna().all() == tokens.backbone.class_token
    if not tokens.backbone.class_token:
        with pytest.raises(InputError, match=f"{family} has no class token that attends; name a patch"):
            attention_of(tokens, 1, None)
    row = attention_of(tokens, 2, (3, 4))[0, 1]
    q, k, _ = tokens.qkv(2)
    full = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    assert torch.allclose(row.flatten(), full[0, 1, tokens.prefix + 34, tokens.prefix :], atol=1e-5)
    assert between_patches(full, tokens.prefix).shape[-1] == 80


@pytest.mark.parametrize(("name", "reason"), [("cliptrase", "clears its regions"), ("scclip", "adds the class token")])
def test_a_refused_model_is_refused_before_words_are_embedded(monkeypatch, name, reason):
    backbone = small_tower("vit_map")
    monkeypatch.setattr(backbone, "encode_text", lambda texts: pytest.fail("words were embedded first"))
    protocol = ovss.load_protocol("study", templates=["a {}."])
    for refused in (
        lambda: ovss.Segmenter(backbone, name, "grass; sky", protocol=protocol),
        lambda: SeveralSegmenters(backbone, resolve_methods(["clip", name]), "grass; sky", protocol=protocol),
        lambda: ovss.evaluate(backbone, ["clip", name], ovss.load_dataset("scenes", length=1), protocol=protocol),
    ):
        with pytest.raises(InputError, match=rf"{name} {reason}.* vit_map has none"):
            refused()
    assert ovss.Segmenter(backbone, "naclip", "grass; sky", protocol=protocol).method.name == "naclip"


def test_an_error_of_a_method_in_that_look_is_not_swallowed(monkeypatch):
    backbone = copy.deepcopy(small_tower("vit_map"))
    method = create_method("naclip")
    monkeypatch.setattr(type(method), "patch_embeddings", lambda self, tokens: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_methods(backbone, {"naclip": method})
    with torch.inference_mode():
        backbone.block(2).module.mlp.fc1.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"hidden states of vit_map .* hold NaN or infinity from block 2"):
        check_methods(backbone, {"naclip": method})
