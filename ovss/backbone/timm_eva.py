"""timm's Eva under open_clip: EVA, EVA-02 with rotary positions, PE-Core, and the post-norm blocks of EVA-02-E."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaBlockPostNorm
from torch import Tensor, nn

from ovss.backbone.block import Block, join_heads, split_heads
from ovss.backbone.timm_vit import VitTower, timm_refusal


class RotaryBlock(Block):
    """timm's pre-norm block of Eva.

    Args:
        module: The block.
        grid: Patch rows and columns.
        rope: Sines and cosines of the grid, (h * w, 2d); None where positions are not rotated.
    """

    def __init__(self, module: nn.Module, grid: tuple[int, int], rope: Tensor | None) -> None:
        super().__init__(module, grid)
        self.rope = rope

    def norm(self, x: Tensor) -> Tensor:
        """`norm1`."""
        return self.module.norm1(x)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block.qkv`; patches are rotated, the tokens in front of them are not."""
        attention, x = self.module.attn, self.norm(x)
        if attention.qkv is None:
            parts = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
        elif getattr(attention, "q_bias", None) is None:
            parts = attention.qkv(x).chunk(3, dim=-1)
        else:
            bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
            parts = F.linear(x, attention.qkv.weight, bias).chunk(3, dim=-1)  # 3 of (B, T, D)
        q, k, v = (split_heads(part, self.heads) for part in parts)  # (B, heads, T, d)
        return self._rotate(attention.q_norm(q)).type_as(v), self._rotate(attention.k_norm(k)).type_as(v), v

    def _rotate(self, x: Tensor) -> Tensor:
        if self.rope is None:
            return x
        prefix = x.shape[2] - len(self.rope)
        half = getattr(self.module.attn, "rotate_half", False)
        return torch.cat([x[:, :, :prefix], apply_rot_embed_cat(x[:, :, prefix:], self.rope, half=half)], dim=2)

    def merge(self, y: Tensor) -> Tensor:
        """See `Block.merge`."""
        attention = self.module.attn
        return _scaled(self.module.gamma_1, attention.proj(attention.norm(join_heads(y))))

    def ffn(self, x: Tensor) -> Tensor:
        """See `Block.ffn`."""
        return _scaled(self.module.gamma_2, self.module.mlp(self.module.norm2(x)))


class PostNormBlock(RotaryBlock):
    """timm's post-norm block of Eva: both norms come after what they normalise, before the sum."""

    def norm(self, x: Tensor) -> Tensor:
        """There is none in front of the attention."""
        return x

    def merge(self, y: Tensor) -> Tensor:
        """See `Block.merge`."""
        return self.module.norm1(self.module.attn.proj(self.module.attn.norm(join_heads(y))))

    def ffn(self, x: Tensor) -> Tensor:
        """See `Block.ffn`."""
        return self.module.norm2(self.module.mlp(x))


class EvaTower(VitTower):
    """timm's `Eva` in open_clip's `TimmModel`; read like its `VisionTransformer`, with blocks of its own."""

    family = "timm Eva"

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        self.rotary = self.trunk.rope is not None
        self._rope: dict[tuple[int, int], Tensor | None] = {}

    @staticmethod
    def refusal(visual: Any) -> str:
        """Why this tower cannot be read; empty where it can."""
        if reason := timm_refusal(visual.trunk):
            return reason
        shared = any(getattr(module.attn, "num_kv_groups", 1) > 1 for module in visual.trunk.blocks)
        return "rotates positions block by block, or shares keys" if shared or visual.trunk.rope_mixed else ""

    def block(self, layer: int, grid: tuple[int, int]) -> Block:
        """See `Tower.block`."""
        module = self.modules[layer - 1]
        kind = PostNormBlock if isinstance(module, EvaBlockPostNorm) else RotaryBlock
        return kind(module, grid, self._rotation(grid))

    def _rotation(self, grid: tuple[int, int]) -> Tensor | None:
        if grid not in self._rope:
            rope = self.trunk.rope
            if rope is not None and grid != self.native_grid:
                rope = copy.deepcopy(rope)
                rope.update_feat_shape(list(grid))
            self._rope[grid] = None if rope is None else rope.get_embed()
        return self._rope[grid]


def _scaled(scale: Tensor | None, x: Tensor) -> Tensor:
    return x if scale is None else scale * x
