"""open_clip's own vision transformer: class token, average (CLIPA) or attention pool with queries (CoCa)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovss.backbone.block import Block, join_heads
from ovss.backbone.folding import run_mlp
from ovss.backbone.tower import Tower


class NativeBlock(Block):
    """open_clip's residual attention block."""

    def norm(self, x: Tensor) -> Tensor:
        """`ln_1`."""
        return self.module.ln_1(x)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block.qkv`."""
        q, k, v = self._project(x, 0)
        return q, k, v

    def kv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.kv`; at two thirds of the cost of `qkv`."""
        k, v = self._project(x, 1)
        return k, v

    def value(self, x: Tensor) -> Tensor:
        """Values alone, at a third of the cost of `qkv`."""
        return self._project(x, 2)[0]

    def _project(self, x: Tensor, first: int) -> tuple[Tensor, ...]:
        """Queries, keys and values from number `first` on."""
        attention, rows = self.module.attn, slice(first * x.shape[-1], None)
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
        mixed = F.linear(self.norm(x), attention.in_proj_weight[rows], bias)  # (B, T, parts * D)
        mixed = mixed.unflatten(-1, (3 - first, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (parts, B, heads, T, d)
        return mixed.unbind(0)

    def merge(self, y: Tensor) -> Tensor:
        """See `Block.merge`."""
        return self.module.ls_1(self.module.attn.out_proj(join_heads(y)))

    def ffn(self, x: Tensor) -> Tensor:
        """See `Block.ffn`."""
        return self.module.ls_2(run_mlp(self.module.mlp, self.module.ln_2(x)))

    def neurons(self, x: Tensor) -> Tensor:
        """See `Block.neurons`."""
        return self.module.mlp.gelu(self.module.mlp.c_fc(self.module.ln_2(x)))

    def project_neurons(self, fired: Tensor) -> Tensor:
        """See `Block.project_neurons`."""
        return self.module.ls_2(self.module.mlp.c_proj(fired))


class NativeTower(Tower):
    """open_clip's `VisionTransformer`."""

    family = "open_clip ViT"

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.modules = list(visual.transformer.resblocks)
        self.width = visual.class_embedding.shape[0]
        self.native_size, self.native_grid = tuple(visual.image_size), tuple(visual.grid_size)
        self.patch_size = visual.patch_size[0]
        self.prefix, self.class_token, self.prefix_in_table = 1, True, True
        average = visual.pool_type == "avg"
        self.pooling = "attention" if visual.attn_pool is not None else "average" if average else "class token"

    @staticmethod
    def refusal(visual: Any) -> str:
        """Why this tower cannot be read; empty where it can."""
        if getattr(visual, "attn_pool_contrastive", None) is not None:
            return "has two attention pools"
        if visual.attn_pool is None and visual.pool_type == "none":
            return "has no pool"
        if any(not isinstance(module.attn, nn.MultiheadAttention) for module in visual.transformer.resblocks):
            return "has a non-standard attention block"
        return ""

    @property
    def table(self) -> Tensor:
        """Learned position embedding."""
        return self.visual.positional_embedding

    def embed(self, images: Tensor, table: Any) -> Tensor:
        """See `Tower.embed`."""
        patches = self.visual.conv1(images).flatten(2).transpose(1, 2)  # (B, N, D)
        cls = self.visual.class_embedding.expand(len(patches), 1, -1)
        return self.visual.ln_pre(torch.cat([cls, patches], dim=1) + table)

    @property
    def ffn_width(self) -> int:
        """See `Tower.ffn_width`."""
        return self.visual.transformer.resblocks[0].mlp.c_fc.out_features

    def normalise_input(self, x: Tensor) -> Tensor:
        """`ln_pre`."""
        return self.visual.ln_pre(x)

    def block(self, layer: int, grid: tuple[int, int]) -> Block:
        """See `Tower.block`."""
        return NativeBlock(self.modules[layer - 1], grid)

    def dense(self, x: Tensor) -> Tensor:
        """`ln_post` and the projection; with an attention pool, after the pool's value and output projection."""
        pool = self.visual.attn_pool
        if pool is not None:
            x = pool.attn.out_proj(input_projection(pool.attn, pool.ln_k(x), 2))
        return self.visual.ln_post(x) @ self.visual.proj

    def dense_steps(self) -> list[nn.Module | Tensor] | None:
        """See `Tower.dense_steps`."""
        return None if self.visual.attn_pool is not None else [self.visual.ln_post, self.visual.proj]

    def pooled(self, x: Tensor) -> Tensor:
        """See `Tower.pooled`; a CoCa model reads the first query of its pool."""
        if self.pooling == "attention":
            return self.visual.ln_post(self.visual.attn_pool(x)[:, 0]) @ self.visual.proj
        if self.pooling == "class token":
            return self.dense(x[:, :1])[:, 0]
        if self.visual.final_ln_after_pool:
            return self.dense(x[:, 1:].mean(dim=1))
        return self.visual.ln_post(x)[:, 1:].mean(dim=1) @ self.visual.proj


def input_projection(attention: nn.MultiheadAttention, x: Tensor, part: int) -> Tensor:
    """Queries (part 0), keys (1) or values (2) of `nn.MultiheadAttention`, heads side by side."""
    rows = slice(part * attention.embed_dim, (part + 1) * attention.embed_dim)
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
    if attention.in_proj_weight is not None:
        return F.linear(x, attention.in_proj_weight[rows], bias)
    weight = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)[part]
    return F.linear(x, weight, bias)
