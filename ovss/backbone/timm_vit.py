"""timm's VisionTransformer under open_clip: SigLIP, SigLIP 2, MobileCLIP, ViTamin."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from ovss.backbone.block import Block, join_heads
from ovss.backbone.tower import Tower

_POOLS = {"token": "class token", "avg": "average", "map": "attention"}


class VitBlock(Block):
    """timm's pre-norm block."""

    def norm(self, x: Tensor) -> Tensor:
        """`norm1`."""
        return self.module.norm1(x)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block.qkv`."""
        attention = self.module.attn
        mixed = attention.qkv(self.norm(x))  # (B, T, 3D)
        q, k, v = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, T, d)
        return attention.q_norm(q), attention.k_norm(k), v

    def merge(self, y: Tensor) -> Tensor:
        """See `Block.merge`."""
        return self.module.ls1(self.module.attn.proj(self.module.attn.norm(join_heads(y))))

    def ffn(self, x: Tensor) -> Tensor:
        """See `Block.ffn`."""
        return self.module.ls2(self.module.mlp(self.module.norm2(x)))


class VitTower(Tower):
    """timm's `VisionTransformer` in open_clip's `TimmModel`."""

    family = "timm ViT"

    def __init__(self, visual: Any) -> None:
        trunk: Any = visual.trunk
        self.visual, self.trunk = visual, trunk
        self.modules = list(trunk.blocks)
        self.width = trunk.embed_dim
        self.native_size, self.native_grid = tuple(trunk.patch_embed.img_size), tuple(trunk.patch_embed.grid_size)
        self.patch_size = trunk.patch_embed.feat_ratio()
        self.prefix, self.class_token = trunk.num_prefix_tokens, trunk.cls_token is not None
        self.prefix_in_table = not trunk.no_embed_class
        self.pooling = _POOLS[trunk.global_pool]

    @staticmethod
    def refusal(visual: Any) -> str:
        """Why this tower cannot be read; empty where it can."""
        if reason := timm_refusal(visual.trunk):
            return reason
        for module in visual.trunk.blocks:
            if type(module) is not TimmBlock or type(module.attn) is not Attention:
                return f"has a non-standard block ({type(module).__name__} with {type(module.attn).__name__})"
        return ""

    @property
    def table(self) -> Tensor | None:
        """Learned position embedding."""
        return None if self.trunk.pos_embed is None else self.trunk.pos_embed[0]

    def embed(self, images: Tensor, table: Tensor | None) -> Tensor:
        """See `Tower.embed`; where the patches come out of a convolutional stem, neighbours have met there."""
        layers, trunk = self.trunk.patch_embed, self.trunk
        x = layers.backbone(images) if hasattr(layers, "backbone") else images
        x = layers.proj(x[-1] if isinstance(x, Sequence) else x).flatten(2).transpose(1, 2)  # (B, N, D)
        x = layers.norm(x) if hasattr(layers, "norm") else x
        prefix = [token.expand(len(x), -1, -1) for token in (trunk.cls_token, trunk.reg_token) if token is not None]
        if table is not None and not self.prefix_in_table:
            x = x + table
        x = torch.cat([*prefix, x], dim=1)
        if table is not None and self.prefix_in_table:
            x = x + table
        return trunk.norm_pre(x)

    def block(self, layer: int, grid: tuple[int, int]) -> Block:
        """See `Tower.block`."""
        return VitBlock(self.modules[layer - 1], grid)

    def dense(self, x: Tensor) -> Tensor:
        """Last norm, value path of the pool, norm and projection of the head: what is left when one token is all."""
        trunk, x = self.trunk, self.trunk.norm(x)
        if trunk.attn_pool is not None:
            pool = trunk.attn_pool
            part = slice(pool.kv.out_features // 2, None)
            x = pool.proj(F.linear(x, pool.kv.weight[part], None if pool.kv.bias is None else pool.kv.bias[part]))
            x = x if pool.mlp is None else x + pool.mlp(pool.norm(x))
        return self.visual.head(trunk.head(trunk.fc_norm(x)))

    def dense_steps(self) -> list[nn.Module | Tensor] | None:
        """See `Tower.dense_steps`."""
        trunk = self.trunk
        return None if trunk.attn_pool is not None else [trunk.norm, trunk.fc_norm, trunk.head, self.visual.head]

    def pooled(self, x: Tensor) -> Tensor:
        """See `Tower.pooled`."""
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(x)))


def timm_refusal(trunk: Any) -> str:
    """Why a ViT of timm cannot be read, as far as blocks are not concerned; empty where it can."""
    pool = trunk.attn_pool
    if trunk.global_pool not in _POOLS:
        return f"pools by '{trunk.global_pool}'"
    known = pool is None or (type(pool) is AttentionPoolLatent and pool.latent_len == 1 and pool.pos_embed is None)
    if not known:
        return f"has a non-standard attention pool ({type(pool).__name__})"
    gated = any(getattr(module.attn, "gate", None) is not None for module in trunk.blocks)
    return "gates its attention" if gated else ""
