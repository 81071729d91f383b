"""Which models this package can read, and by which adapter."""

from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

from ovss.backbone.native import NativeTower
from ovss.backbone.timm_eva import EvaTower
from ovss.backbone.timm_vit import VitTower
from ovss.backbone.tower import Tower
from ovss.errors import InputError

WANTED = "ovss reads plain vision transformers (ViT-B-16, ViT-B-16-SigLIP2, EVA02-B-16, PE-Core-B-16, ...)"
_ADAPTERS: dict[type, type[Tower]] = {VisionTransformer: NativeTower, TimmVisionTransformer: VitTower, Eva: EvaTower}


def find_tower(visual: Any, name: str) -> Tower:
    """The adapter of an image tower.

    Args:
        visual: Image tower of an open_clip model.
        name: The model as the user named it.

    Raises:
        InputError: It is not a plain vision transformer, or one with a part of which nothing is known here.
    """
    trunk = getattr(visual, "trunk", None) if isinstance(visual, TimmModel) else visual
    adapter = _ADAPTERS.get(type(trunk))
    if adapter is None:
        raise InputError(f"model '{name}' is not a plain vision transformer ({type(trunk).__name__}); {WANTED}")
    if reason := adapter.refusal(visual):
        raise InputError(f"model '{name}' {reason}; {WANTED}")
    return adapter(visual)
