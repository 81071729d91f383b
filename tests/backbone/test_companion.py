"""A second vision transformer beside CLIP: its own pixels, its own grid, clear refusals."""

import pytest
import timm
import torch
from companion_helpers import save_companion
from method_helpers import MEAN, STD, random_backbone
from safetensors.torch import save_file
from small_towers import small_tower

from ovss.backbone import load_backbone, load_companion
from ovss.backbone.companion import parse_companion
from ovss.errors import InputError
from ovss.methods import create_method


@pytest.fixture(params=["ovss_test_plain", "ovss_test_registers"])
def saved(request, tmp_path):
    """Name, weights file and model."""
    return (request.param, *save_companion(request.param, tmp_path))


def test_features_are_the_last_patches_on_pixels_of_its_own_statistics(saved):
    name, path, model = saved
    companion, backbone = load_companion(name, path), random_backbone()
    raw = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    clip_pixels = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    own_pixels = (raw - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    with torch.inference_mode():
        expected = model.forward_features(own_pixels)[:, -64:]
    got = companion.features(clip_pixels, backbone)
    assert got.shape == (2, 24, 8, 8)
    torch.testing.assert_close(got.flatten(2).mT, expected, atol=1e-5, rtol=1e-5)
    assert companion.weights_hash == load_companion(name, path).weights_hash
    assert not any(parameter.requires_grad for parameter in companion.model.parameters())


def test_proxyclip_looks_on_the_grid_of_the_companion(saved):
    name, path, _ = saved
    companion, backbone = load_companion(name, path), random_backbone()
    windows = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(9))
    tokens, features = backbone.encode_tokens(windows), companion.features(windows, backbone)
    assert features.shape == (2, 24, 10, 14)
    rows = create_method("proxyclip").patch_embeddings(tokens, features)
    assert rows.shape == (2, 140, 32)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2, 140))
    alone = create_method("proxyclip").patch_embeddings(backbone.encode_tokens(windows[1:]), features[1:])
    torch.testing.assert_close(alone[0], rows[1], atol=1e-5, rtol=0)


def test_windows_of_another_patch_count_are_refused(saved):
    name, path, _ = saved
    with pytest.raises(InputError, match=r"patches of 4 pixels, and windows of 30x32 are no whole number"):
        load_companion(name, path).features(torch.zeros(1, 3, 30, 32), random_backbone())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch8_225", r"companion 'vit_base_patch8_225' is unknown to timm and open_clip\. Did you mean"),
        ("resnet18", "companion 'resnet18' is no plain vision transformer"),
        ("ovss_test_registers", "weights .* do not fit companion 'ovss_test_registers'"),
    ],
)
def test_a_companion_that_is_unknown_or_does_not_fit_is_refused_in_one_line(name, message, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("ovss_test_plain").state_dict(), path)
    with pytest.raises(InputError, match=message) as caught:
        load_companion(name, path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_or_unreadable_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth' of companion 'ovss_test_plain' do not exist"):
        load_companion("ovss_test_plain", tmp_path / "none.pth")
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(InputError, match=f"{name}' of companion") as caught:
            load_companion("ovss_test_plain", tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_tower_of_open_clip_gives_its_patches_after_the_last_norm():
    companion, backbone = load_companion("tiny", "shipped"), random_backbone()
    model = load_backbone("tiny", device="cpu", dtype="float32").model
    windows = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(10))
    got = companion.features(windows, backbone)
    assert got.shape == (2, 128, 8, 8)
    model.visual.output_tokens = True
    with torch.inference_mode():
        _, expected = model.visual(windows)
    torch.testing.assert_close(got.flatten(2).mT, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vit_base_patch8_224", "must be NAME=WEIGHTS, such as vit_base_patch8_224=dino"),
        ("=file.pth", "must be NAME=WEIGHTS"),
        ("ViT-B-32=none.pt", "companion 'ViT-B-32': checkpoint file 'none.pt' does not exist"),
        ("vit_base_patch8_224=none.pth", "weights 'none.pth' of companion 'vit_base_patch8_224' do not exist"),
        ("vit_bass=none.pth", "companion 'vit_bass' is unknown to timm and open_clip"),
    ],
)
def test_a_companion_in_an_option_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_companion(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["vit_map", "eva02", "pe_core_without_cls"])
def test_a_tower_of_timm_in_an_open_clip_model_gives_its_patches_after_the_last_norm(family, monkeypatch):
    tower = small_tower(family)
    monkeypatch.setattr("ovss.backbone.companion.load_backbone", lambda *_, **__: tower)  # a small one of the family
    companion = load_companion("ViT-B-16-SigLIP", "random")
    windows = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(4))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        expected = companion.model.trunk.forward_features((windows * std + mean - 0.5) / 0.5)[:, tower.prefix :]
    got = companion.features(windows, random_backbone())
    torch.testing.assert_close(got.flatten(2).mT, expected, atol=1e-4, rtol=1e-4)
