"""A second vision transformer beside CLIP: its own pixels, its own grid, clear refusals."""

import pytest
import timm
import torch
from method_helpers import MEAN, STD, random_backbone
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

from ovss.backbone import load_companion
from ovss.errors import InputError
from ovss.methods import create_method


def two_blocks(prefix, **options):
    model = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=24, depth=2, num_heads=2, reg_tokens=prefix, **options
    )
    model.pretrained_cfg = model.default_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    return model


@register_model
def ovss_test_plain(pretrained=False, **options):
    """Two blocks, CLS only."""
    return two_blocks(0, **options)


@register_model
def ovss_test_registers(pretrained=False, **options):
    """Two blocks, CLS and three registers."""
    return two_blocks(3, **options)


@pytest.fixture(params=["ovss_test_plain", "ovss_test_registers"])
def saved(request, tmp_path):
    """Name and weights file of a seeded random model with a classification head."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = timm.create_model(request.param, num_classes=5)
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    return request.param, path, model


def test_features_are_the_last_patches_on_pixels_of_its_own_statistics(saved):
    name, path, model = saved
    companion, backbone = load_companion(name, path), random_backbone()
    raw = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    clip_pixels = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    own_pixels = (raw - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    with torch.inference_mode():
        expected = model.eval().forward_features(own_pixels)[:, -64:]
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
        ("vit_base_patch8_225", r"companion 'vit_base_patch8_225' is unknown to timm\. Did you mean"),
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
