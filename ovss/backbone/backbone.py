"""CLIP as a walk through its blocks.

`Backbone` wraps a vision transformer of open_clip, its own or one of timm, without changing it.
`Backbone.encode_tokens` runs the blocks once and returns `Tokens`, the hidden states that every method of this package
is a function of.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from open_clip import CoCa
from PIL import Image
from torch import Tensor, nn

from ovss.backbone.affine import share_out
from ovss.backbone.block import Block
from ovss.backbone.checkpoints import hash_weights
from ovss.backbone.devices import constant, to_device
from ovss.backbone.names import RANDOM
from ovss.backbone.positions import POSITION_RULES, resize_positions
from ovss.backbone.preparation import own_resize_filter
from ovss.backbone.text import encode_text, unseen_words
from ovss.backbone.tokens import Intervention, Tokens
from ovss.backbone.towers import find_tower
from ovss.errors import InputError
from ovss.images import to_rgb


class Backbone:
    """A CLIP model with a vision transformer, read block by block.

    Args:
        model: open_clip model; put into evaluation mode, its parameters no longer require gradients.
        name: Architecture as the user named it.
        pretrained: Where the weights came from: an open_clip tag, a file name, "random".
        tokenizer: Strings to token ids (T, context).
        mean: Channel means of the training images, of values in 0..1.
        std: Channel standard deviations, likewise.
        interpolation: How the model's own transform resizes images, "bicubic" or "bilinear"; None: nothing is known of
            it.
        weights_hash: SHA-256 of the weights where it is known already.
        origin: Arguments of `load_backbone` that give this model again, for other processes.

    Attributes:
        depth: Number of blocks L.
        heads: Heads of a block.
        width: Width D of a state.
        embed_dim: Width E of the joint image-text space.
        patch_size: Side of a patch in pixels.
        native_size: Height and width of the images it was trained on.
        native_grid: Patch rows and columns of those.
        image_size: Shorter side of the native grid in pixels.
        prefix: Number of tokens in front of the patches: class token and registers; 0 where there is none.
        class_token: Whether the first token is a class token.
        rotary: Whether queries and keys are rotated by the place of their patch.
        pooling: What the image embedding is read from: "class token", "attention" over tokens or their "average".

    Raises:
        InputError: The image tower is not a plain vision transformer.
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
        interpolation: str | None = None,
        weights_hash: str | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self.pretrained = pretrained
        self.tokenizer = tokenizer
        self.origin = origin
        self.mean, self.std = tuple(mean), tuple(std)
        self.interpolation = interpolation
        self._tower = tower = find_tower(self.model.visual, name)
        self._positions: dict[tuple[int, int, str], Tensor | None] = {}
        if weights_hash is not None:
            self.weights_hash = weights_hash
        self.depth = len(tower.modules)
        self.width, self.patch_size = tower.width, tower.patch_size
        self.native_size, self.native_grid = tower.native_size, tower.native_grid
        self.image_size: int = min(self.native_grid) * self.patch_size
        self.prefix, self.class_token, self.pooling = tower.prefix, tower.class_token, tower.pooling
        self.rotary = tower.rotary
        self.heads = self.block(1).heads
        weight = next(tower.visual.parameters())
        self.embed_dim: int = tower.dense(weight.new_zeros(1, 1, self.width)).shape[-1]

    def __repr__(self) -> str:
        size = f"{self.depth} blocks, {self.image_size} px, patch {self.patch_size}"
        return f"Backbone({self.name!r}, pretrained={self.pretrained!r}, {size}, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self._tower.visual.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self._tower.visual.parameters()).dtype

    @property
    def is_tiny(self) -> bool:
        """Whether this is the embedded demonstration model, whose numbers say nothing about CLIP."""
        return self.name == "tiny"

    @property
    def is_random(self) -> bool:
        """Whether the weights are random ones that were asked for, whose numbers say nothing."""
        return self.pretrained == RANDOM

    @property
    def logit_scale(self) -> float:
        """Learned temperature: factor of the cosines in the training loss."""
        return float(self.model.logit_scale.exp())

    @property
    def logit_bias(self) -> float | None:
        """Learned offset of the scaled cosines in a sigmoid loss; None where the model was trained with a softmax."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else float(bias)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return hash_weights(self.model.state_dict())

    @property
    def resize_filter(self) -> str:
        """Filter of the model's own transform, by its name in protocols; see `own_resize_filter`."""
        return own_resize_filter(self.interpolation, self.name)

    def block(self, layer: int, grid: tuple[int, int] | None = None) -> Block:
        """Block `layer`, 1-based.

        Args:
            layer: Its number.
            grid: Patch rows and columns of the tokens that it will be given; None: the native grid.
        """
        if not 1 <= layer <= self.depth:
            raise InputError(f"block {layer} is outside 1..{self.depth}, the blocks of {self.name}")
        return self._tower.block(layer, grid or self.native_grid)

    def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """What the model would say about an image that consists of each token alone; not normalised.

        Of a class token: `ln_post`, then the projection into the joint space. Of an attention pool: `y + mlp(norm(y))`
        with `y` the pool's output projection of its values, because attention over one token is 1. Of an average: the
        token itself, normalised and projected as the average is.
        """
        return self._tower.dense(x)

    def read_out_parts(self, parts: Float[Tensor, "P B T D"]) -> Float[Tensor, "P B T E"]:
        """What each summand of tokens adds to what is read out of their sum; biases go to the last one.

        Mean and variance of the norms are those of the sum, see `ovss.backbone.affine`; the results add up to
        `read_out` of the sum.

        Raises:
            InputError: The read-out is more than linear layers and LayerNorms.
        """
        steps = self._tower.dense_steps()
        if steps is None:
            raise InputError(f"{self.name} reads tokens out by an attention pool, which cannot be shared out")
        return share_out(steps, parts, self.name)

    def pooled(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B E"]:
        """The image embedding from the last state, as `encode_image` gives it."""
        return self.as_answered(self._tower.pooled(x))

    def as_answered(self, x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Embeddings at the length that `encode_image` gives them: CoCa's of unit length, all others as they are."""
        return F.normalize(x, dim=-1) if isinstance(self.model, CoCa) else x

    def preprocess(self, image: Image.Image | np.ndarray) -> Float[Tensor, "3 H W"]:
        """Image to normalised float32 tensor on the CPU; never resizes.

        Args:
            image: PIL image of any mode, or an array (H, W, 3) or (H, W) of uint8.
        """
        return self.normalise(torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1))

    def normalise(self, pixels: UInt8[Tensor, "*B 3 H W"]) -> Float[Tensor, "*B 3 H W"]:
        """Pixels as the model was trained on them, float32, where they are."""
        mean, std = (constant(values, pixels.device, torch.float32).view(3, 1, 1) for values in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std

    @property
    def ffn_width(self) -> int:
        """Number of neurons in the feed-forward network of a block."""
        return self._tower.ffn_width

    def normalise_input(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """`ln_pre`, the normalisation in front of block 1."""
        return self._tower.normalise_input(x)

    def begin(self, x: Float[Tensor, "B T D"], intervene: Intervention | None) -> Float[Tensor, "B T D"]:
        """Hidden state 0 as a pass with an intervention starts from it; see `Intervention`."""
        start = getattr(intervene, "start", None)
        return x if start is None else start(self, x)

    def run_block(
        self,
        layer: int,
        x: Float[Tensor, "B T D"],
        grid: tuple[int, int],
        intervene: Intervention | None = None,
        qkv: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Output of a block, changed where a pass intervenes, see `Intervention`; `qkv` of `x` where it is there."""
        block, inside = self.block(layer, grid), getattr(intervene, "run", None)
        x = block.forward(x, qkv) if inside is None else inside(block, x, layer, self.depth, qkv)
        return x if intervene is None else intervene(x, grid)

    def encode_tokens(
        self,
        images: Float[Tensor, "B 3 H W"],
        layers: Iterable[int] | None = None,
        position: str = "scale",
        intervene: Intervention | None = None,
    ) -> Tokens:
        """Run the blocks once and keep hidden states, with the queries, keys and values of the blocks that read them.

        Args:
            images: Normalised images or windows; height and width any multiples of the patch size, or the native size.
            layers: Numbers of the hidden states to keep, 0..L; blocks above the highest are not run. None keeps all.
            position: How the position embedding is resized to another grid: "scale" (bicubic by scale factor, as
                NACLIP, SC-CLIP and CLIPtrase do), "size" (bicubic to the size) or "antialias" (the same, antialiased,
                as open_clip).
            intervene: Change of the output of each block before the next one sees it; None: the model as it is. No
                parameter of the model is touched.

        Returns:
            Hidden states on a grid of height / patch by width / patch cells.

        Example:
            >>> import torch, ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> tokens = backbone.encode_tokens(torch.zeros(2, 3, 64, 64), layers=[7])
            >>> tokens.grid, tuple(tokens.hidden(7).shape)
            ((8, 8), (2, 65, 128))

        Raises:
            InputError: The size is not a multiple of the patch size, a layer outside 0..L, an unknown position rule.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
        height, width = images.shape[-2:]
        whole = height and width and not height % self.patch_size and not width % self.patch_size
        if not whole and (height, width) != self.native_size:
            raise InputError(f"image size {height}x{width} is not a multiple of the patch size {self.patch_size}")
        wanted = set(range(self.depth + 1)) if layers is None else {int(layer) for layer in layers}
        if not wanted or min(wanted) < 0 or max(wanted) > self.depth:
            raise InputError(f"layers {sorted(wanted)} must be a non-empty part of 0..{self.depth}")
        grid = (height // self.patch_size, width // self.patch_size)
        x = self._tower.embed(to_device(images, self.device).to(self.dtype), self.position_embedding(grid, position))
        x = self.begin(x, intervene)
        states, projected = {0: x} if 0 in wanted else {}, {}
        for number in range(1, max(wanted) + 1):
            qkv = self.block(number, grid).qkv(x)
            if number - 1 in wanted:
                projected[number] = qkv
            x = self.run_block(number, x, grid, intervene, qkv)
            if number in wanted:
                states[number] = x
        return Tokens(self, grid, states, intervene, projected)

    def position_embedding(self, grid: tuple[int, int], rule: str = "scale") -> Float[Tensor, "R D"] | None:
        """Learned position embedding for a patch grid; prefix tokens keep their own rows.

        Args:
            grid: Patch rows and columns.
            rule: See `encode_tokens`.

        Returns:
            One row per token, or per patch where prefix tokens have none; None where the model learned none.
        """
        if rule not in POSITION_RULES:
            raise InputError(f"position rule '{rule}' is unknown; it is one of {', '.join(POSITION_RULES)}")
        key = (*grid, rule)
        if key not in self._positions:
            table, prefix = self._tower.table, self.prefix if self._tower.prefix_in_table else 0
            if table is not None and grid != self.native_grid:
                with torch.inference_mode(False):  # it is kept, so it must also do where gradients are asked for
                    table = resize_positions(table, self.native_grid, grid, rule, prefix)
            self._positions[key] = table
        return self._positions[key]

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """open_clip's own image embedding, not normalised (CoCa's is); native size only."""
        return self.model.encode_image(images.to(self.device, self.dtype))

    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> Float[Tensor, "T E"]:
        """Text embeddings, not normalised.

        Raises:
            InputError: A text has more tokens than the context holds (cutting it off would change its meaning).
        """
        return encode_text(self, texts, batch_size)

    def unknown_words(self, texts: Iterable[str]) -> list[str]:
        """Words of which the embedded model has never seen a token in training (their embeddings are zero vectors).

        Always empty for real CLIP weights.
        """
        return unseen_words(self, texts) if self.is_tiny else []
