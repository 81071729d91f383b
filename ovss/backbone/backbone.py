"""CLIP as a walk through its blocks: the only module that knows open_clip's internals.

`load_backbone` wraps an open_clip vision transformer without changing it. `Backbone.encode_tokens` runs the blocks once
and
returns `Tokens`, the hidden states that every method of this package is a function of.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from ovss.backbone.finite import check_weights
from ovss.backbone.loading import load_model, resolve_device, resolve_dtype
from ovss.errors import InputError
from ovss.images import to_rgb

POSITION_RULES = ("scale", "antialias", "size")
Intervention = Callable[[Tensor, tuple[int, int]], Tensor]
"""Change of a block's output (B, 1 + N, D) before the next block sees it, given the grid (h, w)."""


class Block:
    """One transformer block of the vision tower, taken apart.

    Args:
        module: open_clip's residual attention block.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self.heads: int = self.module.attn.num_heads

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The whole block: attention and FFN, each with its residual."""
        return self.module(x)

    def norm(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """`ln_1`, the normalisation in front of the attention."""
        return self.module.ln_1(x)

    def qkv(
        self, x: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Queries, keys and values of `ln_1(x)`, per head.

        Args:
            x: Residual stream in front of this block; any number of tokens, with or without CLS.
        """
        attention = self.module.attn
        mixed = F.linear(self.norm(x), attention.in_proj_weight, attention.in_proj_bias)  # (B, T, 3D)
        mixed = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, T, d)
        q, k, v = mixed.unbind(0)
        return q, k, v

    def value(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T d"]:
        """Values of `ln_1(x)` alone, for methods that need neither queries nor keys of `x`."""
        attention = self.module.attn
        width = x.shape[-1]
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias[2 * width :]
        v = F.linear(self.norm(x), attention.in_proj_weight[2 * width :], bias)  # (B, T, D)
        return v.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, d)

    def merge(self, y: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
        """Join the heads and apply `out_proj` (and the layer scale of models that have one); no residual."""
        return self.module.ls_1(self.module.attn.out_proj(y.transpose(1, 2).flatten(2)))

    def ffn(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Feed-forward network of `ln_2(x)` (and layer scale); no residual."""
        return self.module.ls_2(self.module.mlp(self.module.ln_2(x)))


class Tokens:
    """Hidden states of one backbone pass, shared by all methods.

    Hidden states are numbered 0 (input of block 1) to L (output of block L); token 0 of each is CLS, the others are
    patches in
    row-major order. States above the highest one kept are computed from it when asked for, once.

    Args:
        backbone: The backbone that made them.
        grid: Patch rows and columns (h, w).
        states: Kept hidden states by number, each (B, 1 + N, D) with N = h * w.
        intervene: What was done to the output of each block before the next one saw it; None: nothing.
    """

    def __init__(
        self,
        backbone: "Backbone",
        grid: tuple[int, int],
        states: dict[int, Tensor],
        intervene: Intervention | None = None,
    ) -> None:
        self.backbone = backbone
        self.grid = grid
        self.intervene = intervene
        self._states = states
        self._passes: dict[Intervention, Tokens] = {}
        self._qkv: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return self.backbone.depth

    @property
    def batch(self) -> int:
        """Number of windows B."""
        return next(iter(self._states.values())).shape[0]

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the hidden states held at the moment, ascending."""
        return tuple(sorted(self._states))

    def hidden(self, layer: int) -> Float[Tensor, "B T D"]:
        """Hidden state `layer`: 0 is the input of block 1, L the output of the last block.

        Raises:
            InputError: `layer` is outside 0..L, or lies below every state that was kept.
        """
        if not 0 <= layer <= self.depth:
            raise InputError(f"layer {layer} is outside 0..{self.depth}, the hidden states of {self.backbone.name}")
        if layer not in self._states:
            below = [kept for kept in self._states if kept < layer]
            if not below:
                raise InputError(f"hidden state {layer} was not kept; name it in encode_tokens(layers=...)")
            start = max(below)
            x = self._states[start]
            for number in range(start + 1, layer + 1):
                x = self.backbone.run_block(number, x, self.grid, self.intervene)
            self._states[layer] = x
        return self._states[layer]

    def qkv(self, layer: int) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Queries, keys and values of block `layer` (1-based) on its own input; computed once, then kept."""
        if not 1 <= layer <= self.depth:
            raise InputError(f"block {layer} is outside 1..{self.depth}, the blocks of {self.backbone.name}")
        if layer not in self._qkv:
            self._qkv[layer] = self.block(layer).qkv(self.hidden(layer - 1))
        return self._qkv[layer]

    def intervened(self, intervene: Intervention) -> "Tokens":
        """Another pass over the same images, from the input of block 1 on, with a change between the blocks.

        Blocks are run when their states are asked for. Equal interventions share one pass, which is kept.

        Args:
            intervene: Change of each block's output; compared by value where it is a frozen dataclass.

        Raises:
            InputError: Hidden state 0 was not kept.
        """
        if intervene not in self._passes:
            self._passes[intervene] = Tokens(self.backbone, self.grid, {0: self.hidden(0)}, intervene)
        return self._passes[intervene]

    def block(self, layer: int) -> Block:
        """Block `layer` (1-based) of the backbone."""
        return self.backbone.block(layer)

    def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """Residual-stream tokens into the joint image-text space; not normalised."""
        return self.backbone.read_out(x)


class Backbone:
    """A CLIP model with a vision transformer, read block by block.

    Args:
        model: open_clip model; put into evaluation mode, its parameters no longer require gradients.
        name: Architecture as the user named it.
        pretrained: Where the weights came from: an open_clip tag, a file name, "random".
        tokenizer: Strings to token ids (T, context).
        mean: Channel means of the training images, of values in 0..1.
        std: Channel standard deviations, likewise.
        weights_hash: SHA-256 of the weights where it is known already.
        origin: Arguments `model` and `pretrained` of `load_backbone` that give this model again, for other processes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        pretrained: str,
        tokenizer: Any,
        mean: Sequence[float],
        std: Sequence[float],
        weights_hash: str | None = None,
        origin: tuple[str, str | None] | None = None,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self.pretrained = pretrained
        self.tokenizer = tokenizer
        self.origin = origin
        self.mean, self.std = tuple(mean), tuple(std)
        visual = self.model.visual
        self._visual: Any = visual
        self._blocks = [Block(module) for module in visual.transformer.resblocks]
        self._positions: dict[tuple[int, int, str], Tensor] = {}
        if weights_hash is not None:
            self.weights_hash = weights_hash
        self.depth = len(self._blocks)
        self.heads = self._blocks[0].heads
        self.width: int = visual.class_embedding.shape[0]
        self.embed_dim: int = visual.proj.shape[1]
        self.native_grid: tuple[int, int] = tuple(visual.grid_size)
        self.patch_size: int = visual.conv1.kernel_size[0]
        self.image_size: int = self.native_grid[0] * self.patch_size

    def __repr__(self) -> str:
        size = f"{self.depth} blocks, {self.image_size} px, patch {self.patch_size}"
        return f"Backbone({self.name!r}, pretrained={self.pretrained!r}, {size}, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._visual.class_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self._visual.class_embedding.dtype

    @property
    def is_tiny(self) -> bool:
        """Whether this is the embedded demonstration model, whose numbers say nothing about CLIP."""
        return self.name == "tiny"

    @property
    def logit_scale(self) -> float:
        """Learned temperature: factor of the cosines in the training loss."""
        return float(self.model.logit_scale.exp())

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return hash_weights(self.model.state_dict())

    def block(self, layer: int) -> Block:
        """Block `layer`, 1-based."""
        if not 1 <= layer <= self.depth:
            raise InputError(f"block {layer} is outside 1..{self.depth}, the blocks of {self.name}")
        return self._blocks[layer - 1]

    def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """`ln_post`, then the projection into the joint space; not normalised."""
        return self._visual.ln_post(x) @ self._visual.proj

    def preprocess(self, image: Image.Image | np.ndarray) -> Float[Tensor, "3 H W"]:
        """Image to normalised float32 tensor on the CPU; never resizes.

        Args:
            image: PIL image of any mode, or an array (H, W, 3) or (H, W) of uint8.
        """
        pixels = torch.from_numpy(np.array(to_rgb(image), dtype=np.float32)).permute(2, 0, 1) / 255  # (3, H, W)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def run_block(
        self, layer: int, x: Float[Tensor, "B T D"], grid: tuple[int, int], intervene: Intervention | None = None
    ) -> Float[Tensor, "B T D"]:
        """Output of a block, changed where a pass intervenes."""
        x = self.block(layer).forward(x)
        return x if intervene is None else intervene(x, grid)

    def encode_tokens(
        self,
        images: Float[Tensor, "B 3 H W"],
        layers: Iterable[int] | None = None,
        position: str = "scale",
        intervene: Intervention | None = None,
    ) -> Tokens:
        """Run the blocks once and keep the hidden states.

        Args:
            images: Normalised images or windows; height and width any multiples of the patch size.
            layers: Numbers of the hidden states to keep, 0..L; blocks above the highest are not run. None keeps all.
            position: How the position embedding is resized to another grid: "scale" (bicubic by scale factor, as
                NACLIP,
                SC-CLIP and CLIPtrase do), "size" (bicubic to the size) or "antialias" (the same, antialiased, as
                open_clip).

            intervene: Change of the output of each block before the next one sees it; None: the model as it is. No
                parameter of the model is touched.

        Raises:
            InputError: Size no multiple of the patch, a layer outside 0..L, an unknown position rule.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size or not height or not width:
            raise InputError(f"image size {height}x{width} is no multiple of the patch size {self.patch_size}")
        wanted = set(range(self.depth + 1)) if layers is None else {int(layer) for layer in layers}
        if not wanted or min(wanted) < 0 or max(wanted) > self.depth:
            raise InputError(f"layers {sorted(wanted)} must be a non-empty part of 0..{self.depth}")
        grid = (height // self.patch_size, width // self.patch_size)
        x = self._embed(images.to(self.device, self.dtype), grid, position)
        states = {0: x} if 0 in wanted else {}
        for number in range(1, max(wanted) + 1):
            x = self.run_block(number, x, grid, intervene)
            if number in wanted:
                states[number] = x
        return Tokens(self, grid, states, intervene)

    def _embed(self, images: Tensor, grid: tuple[int, int], position: str) -> Tensor:
        patches = self._visual.conv1(images).flatten(2).transpose(1, 2)  # (B, N, D)
        cls = self._visual.class_embedding.expand(len(patches), 1, -1)
        return self._visual.ln_pre(torch.cat([cls, patches], dim=1) + self.position_embedding(grid, position))

    def position_embedding(self, grid: tuple[int, int], rule: str = "scale") -> Float[Tensor, "T D"]:
        """Position embedding for a patch grid; CLS keeps its own row.

        Args:
            grid: Patch rows and columns.
            rule: See `encode_tokens`.
        """
        if rule not in POSITION_RULES:
            raise InputError(f"position rule '{rule}' is unknown; it is one of {', '.join(POSITION_RULES)}")
        key = (*grid, rule)
        if key not in self._positions:
            native = self._visual.positional_embedding
            self._positions[key] = native if grid == self.native_grid else _resize(native, self.native_grid, grid, rule)
        return self._positions[key]

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """open_clip's own image embedding, not normalised; native size only."""
        return self.model.encode_image(images.to(self.device, self.dtype))

    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> Float[Tensor, "T E"]:
        """Text embeddings, not normalised.

        Raises:
            InputError: A text has more tokens than the context holds (cutting it off would change its meaning).
        """
        for text in texts:
            length = len(self.tokenizer.encode(text)) + 2 if hasattr(self.tokenizer, "encode") else 0
            if length > self.tokenizer.context_length:
                raise InputError(
                    f"text '{text[:60]}...' has {length} tokens; {self.name} reads {self.tokenizer.context_length}"
                )
        if not texts:
            return torch.empty(0, self.embed_dim, device=self.device, dtype=self.dtype)
        tokens = self.tokenizer(list(texts)).to(self.device)  # (T, context)
        order = (tokens != 0).sum(dim=1).argsort(stable=True)
        parts = [self._encode_tokens_of_text(tokens[chosen]) for chosen in order.split(batch_size)]
        return torch.cat(parts)[order.argsort()]

    def _encode_tokens_of_text(self, tokens: Tensor) -> Tensor:
        """open_clip's text embedding, without the padding where attention is causal and so cannot see it."""
        model = self.model
        if getattr(model, "text_pool_type", None) != "argmax" or getattr(model, "attn_mask", None) is None:
            return model.encode_text(tokens)
        end = tokens.argmax(dim=1)  # the end token has the highest number
        length = int(end.max()) + 1
        x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]  # (T, length, width)
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        x = x[torch.arange(len(x), device=x.device), end]
        projection = model.text_projection
        return projection(x) if isinstance(projection, nn.Module) else x @ projection

    def unknown_words(self, texts: Iterable[str]) -> list[str]:
        """Words of which the embedded model has never seen a token in training (their embeddings are zero vectors).

        Always empty for real CLIP weights.
        """
        if not self.is_tiny:
            return []
        unseen = ~self.model.token_embedding.weight.any(dim=1).cpu()
        words = dict.fromkeys(word for text in texts for word in text.split())
        return [word for word in words if unseen[torch.tensor(self.tokenizer.encode(word), dtype=torch.long)].any()]


def _resize(table: Tensor, native: tuple[int, int], grid: tuple[int, int], rule: str) -> Tensor:
    """Bicubic resize of a position table (1 + H0 * W0, D) to (1 + h * w, D), computed in float32."""
    patches = table[1:].float().T.unflatten(1, native).unsqueeze(0)  # (1, D, H0, W0)
    if rule == "scale":
        # The 0.1 keeps floor(H0 * factor) at h; it also shifts the sampling points, which is part of the published
        # rule.
        factor = ((grid[0] + 0.1) / native[0], (grid[1] + 0.1) / native[1])
        resized = F.interpolate(patches, scale_factor=factor, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(patches, size=grid, mode="bicubic", align_corners=False, antialias=rule == "antialias")
    if resized.shape[-2:] != grid:
        raise InputError(f"position rule 'scale' gives a {tuple(resized.shape[-2:])} grid for {grid}; use 'size'")
    return torch.cat([table[:1], resized[0].flatten(1).T.to(table.dtype)])


def hash_weights(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, in sorted order of names."""
    result = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous()
        result.update(f"{name}{tuple(values.shape)}".encode())
        result.update(values.numpy().tobytes())
    return result.hexdigest()


def check_vision_tower(model: Any, name: str) -> None:
    """Refuse models whose image embedding is not the read-out of a class token.

    Raises:
        InputError: The tower is no open_clip vision transformer, has no class token, pools by attention or averages, or
            uses
            a non-standard attention block.
    """
    visual = model.visual
    wanted = "ovss reads the class token of a plain vision transformer (ViT-B-32, ViT-B-16, ViT-L-14, ViT-H-14, ...)"
    if getattr(visual, "class_embedding", None) is None or not hasattr(visual, "transformer"):
        raise InputError(f"model '{name}' has no class token ({type(visual).__name__}); {wanted}")
    if getattr(visual, "attn_pool", None) is not None:
        raise InputError(f"model '{name}' pools by attention instead of reading its class token; {wanted}")
    if getattr(visual, "pool_type", "tok") != "tok":
        raise InputError(f"model '{name}' pools by '{visual.pool_type}' instead of reading its class token; {wanted}")
    if any(not isinstance(block.attn, nn.MultiheadAttention) for block in visual.transformer.resblocks):
        raise InputError(f"model '{name}' has a non-standard attention block; {wanted}")
    if math.prod(visual.grid_size) + 1 != len(visual.positional_embedding):
        raise InputError(f"model '{name}' has a position table of unexpected length; {wanted}")


def load_backbone(
    model: str = "tiny", pretrained: str | None = None, *, device: str = "auto", dtype: str = "auto"
) -> Backbone:
    """Load a CLIP model.

    Args:
        model: "tiny" (the embedded demonstration model), an open_clip architecture ("ViT-B-16", "ViT-L-14", ...), one
            registered
            with `open_clip.add_model_config`, or "hf-hub:ORGANISATION/NAME".
        pretrained: An open_clip tag ("openai", "laion2b_s34b_b88k", "metaclip_fullcc", ...), a checkpoint file
            (.safetensors or a
            weights-only .pt), or "TAG=FILE" for a local file of a tag's weights. QuickGELU and pixel statistics follow
            the
            tag. None: the shipped weights of "tiny"; for another architecture random weights (seeded), with a warning.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (float16 on CUDA, else float32), "float32", "float16" or "bfloat16".

    Raises:
        InputError: Unknown name, missing file, weights that do not fit, hold NaN or infinity, or cannot be downloaded,
            a model without class token.
    """
    target = resolve_device(device)
    number_format = resolve_dtype(dtype, target)
    loaded = load_model(model, pretrained, check_vision_tower)
    known_hash = None if number_format == torch.float32 else hash_weights(loaded.model.state_dict())
    network = loaded.model.to(target, number_format)
    check_weights(network, loaded.source)
    return Backbone(
        network,
        name=model,
        pretrained=loaded.source,
        tokenizer=loaded.tokenizer,
        mean=loaded.mean,
        std=loaded.std,
        weights_hash=known_hash,
        origin=(model, pretrained),
    )
