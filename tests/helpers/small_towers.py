"""One small image tower of every family, with random weights of which none is without effect."""

from functools import cache, partial
from typing import Any

import timm
import torch
from open_clip import CLIPVisionCfg, CoCa, CustomTextCLIP
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed

from ovss.backbone import Backbone
from ovss.backbone.conform import shake
from ovss.backbone.tokenizers import StandInTokenizer

EMBED = 20
TEXT: Any = {"context_length": 64, "vocab_size": 300, "width": 16, "heads": 2, "layers": 1}
_SIZES: dict[str, Any] = {"img_size": (48, 64), "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 4}
_ROTARY = _SIZES | {"use_rot_pos_emb": True, "swiglu_mlp": True, "mlp_ratio": 2.0}
_PE = {"attn_type": "rope", "use_pre_transformer_norm": True, "rope_grid_offset": 1.0, "rope_grid_indexing": "xy"}


class _Stem(HybridEmbed):
    """A convolutional stem of three steps in the place of the patch projection."""

    def __init__(self, **options: Any) -> None:
        stem = ConvStem(channels=(12, 24, 48), stride=(2, 2, 2), kernel_size=(2, 2, 2), padding=0)
        kept = {key: value for key, value in options.items() if key in ("img_size", "embed_dim")}
        super().__init__(stem, proj=False, **kept)


TRUNKS: dict[str, tuple[type, dict[str, Any], str, str | None]] = {
    # SigLIP: no class token, attention pool
    "vit_map": (VisionTransformer, _SIZES | {"class_token": False}, "map", "none"),
    # MobileCLIP: convolutional stem, class token without position
    "vit_stem": (VisionTransformer, _SIZES | {"no_embed_class": True, "embed_layer": _Stem}, "token", None),
    # ViTamin and gap models: average, here with norms of q and k, layer scale and registers
    "vit_average": (
        VisionTransformer,
        _SIZES
        | {"class_token": False, "global_pool": "avg", "fc_norm": False}
        | {"reg_tokens": 3, "qk_norm": True, "init_values": 0.1},
        "avg",
        "linear",
    ),
    # EVA: fused projection without bias of the keys, no rotation
    "eva": (Eva, _SIZES | {"init_values": 0.1}, "token", None),
    # EVA-02: rotation, norm of the joined heads, separate projections
    "eva02": (
        Eva,
        _ROTARY | {"qkv_fused": False, "scale_mlp": True, "scale_attn_inner": True, "ref_feat_shape": (5, 5)},
        "token",
        None,
    ),
    # EVA-02-E: norms after attention and FFN
    "eva02_post_norm": (Eva, _SIZES | {"use_post_norm": True}, "token", None),
    # PE-Core: rotation in the other order, attention pool over patches and class token
    "pe_core": (
        Eva,
        _SIZES | _PE | {"use_rot_pos_emb": True, "ref_feat_shape": (7, 7), "attn_pool_num_heads": 2},
        "map",
        None,
    ),
    # PE-Core bigG: no class token
    "pe_core_without_cls": (
        Eva,
        _SIZES | _PE | {"use_rot_pos_emb": True, "ref_feat_shape": (7, 7), "class_token": False},
        "map",
        None,
    ),
}
NATIVE: dict[str, dict[str, Any]] = {
    "class_token": {},
    "clipa": {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
    "average": {"pool_type": "avg", "ls_init_value": 0.1},
    "coca": {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2, "output_tokens": True},
}
FAMILIES = (*NATIVE, *TRUNKS)


def _register(name: str, kind: type, options: dict[str, Any]) -> str:
    entry = f"ovss_small_{name}"

    def make(pretrained: bool = False, **changes: Any) -> Any:
        model = kind(**options | {key: changes[key] for key in ("num_classes", "global_pool") if key in changes})
        model.pretrained_cfg = model.default_cfg = {}
        return model

    make.__name__, make.__module__ = entry, __name__
    if not timm.is_model(entry):
        register_model(make)
    return entry


def small_model(
    name: str, image_size: tuple[int, int] = (48, 64), seed: int = 0, *, patch: int = 8, depth: int = 4
) -> Any:
    """A model of a family, shaken."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name in NATIVE:
            vision: Any = CLIPVisionCfg(
                layers=depth, width=48, head_width=12, patch_size=patch, image_size=image_size, **NATIVE[name]
            )
            if name == "coca":
                decoder: Any = {"width": 16, "heads": 2, "layers": 1, "vocab_size": 300, "context_length": 64}
                text: Any = TEXT | {"embed_cls": True, "output_tokens": True}
                model: Any = CoCa(EMBED, multimodal_cfg=decoder, text_cfg=text, vision_cfg=vision)
            else:
                model = CustomTextCLIP(EMBED, vision, TEXT)
        else:
            kind, options, pool, projection = TRUNKS[name]
            options = options | {"num_classes": 0, "img_size": image_size, "patch_size": patch, "depth": depth}
            entry = _register(f"{name}_{'x'.join(map(str, (*image_size, patch, depth)))}", kind, options)
            width = options["embed_dim"] if projection == "none" else EMBED
            vision = {"timm_model_name": entry, "timm_pool": pool, "timm_proj": projection, "image_size": image_size}
            model = CustomTextCLIP(width, vision, TEXT)
    shake(model, seed)
    return model


@cache
def small_tower(name: str, dtype: torch.dtype = torch.float32) -> Backbone:
    """A backbone around it, for images of 48 x 64 pixels and patches of 8."""
    tokenizer = StandInTokenizer(TEXT["vocab_size"], TEXT["context_length"])
    wrap = partial(Backbone, name=name, pretrained="random", tokenizer=tokenizer, mean=(0.5,) * 3, std=(0.5,) * 3)
    return wrap(small_model(name).to(dtype))
