"""Two-block vision transformers of timm for tests, known by name, and their seeded random weights as a file."""

import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer


def two_blocks(prefix, num_classes=1000, dynamic_img_size=False, **_):
    model = VisionTransformer(
        img_size=32,
        patch_size=4,
        embed_dim=24,
        depth=2,
        num_heads=2,
        reg_tokens=prefix,
        num_classes=num_classes,
        dynamic_img_size=dynamic_img_size,
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


def save_companion(name, folder):
    """Weights file of a seeded random model with a classification head, and the model."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = timm.create_model(name, num_classes=5)
    path = folder / "weights.safetensors"
    save_file(model.state_dict(), path)
    return path, model.eval()
