"""CLIP as a walk through its blocks.

`Backbone` wraps an open_clip vision transformer without changing it. `Backbone.encode_tokens` runs the blocks once and
returns `Tokens`, the hidden states that every method of this package is a function of.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from ovss.backbone.block import Block
from ovss.backbone.checkpoints import hash_weights
from ovss.backbone.positions import POSITION_RULES, resize_positions
from ovss.backbone.text import encode_text, unseen_words
from ovss.backbone.tokens import Intervention, Tokens
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
        self,
        layer: int,
        x: Float[Tensor, "B T D"],
        grid: tuple[int, int],
        intervene: Intervention | None = None,
        qkv: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Output of a block, changed where a pass intervenes; `qkv` of its input where it is there already."""
        x = self.block(layer).forward(x, qkv)
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
            images: Normalised images or windows; height and width any multiples of the patch size.
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
        if height % self.patch_size or width % self.patch_size or not height or not width:
            raise InputError(f"image size {height}x{width} is not a multiple of the patch size {self.patch_size}")
        wanted = set(range(self.depth + 1)) if layers is None else {int(layer) for layer in layers}
        if not wanted or min(wanted) < 0 or max(wanted) > self.depth:
            raise InputError(f"layers {sorted(wanted)} must be a non-empty part of 0..{self.depth}")
        grid = (height // self.patch_size, width // self.patch_size)
        x = self._embed(images.to(self.device, self.dtype), grid, position)
        states, projected = {0: x} if 0 in wanted else {}, {}
        for number in range(1, max(wanted) + 1):
            qkv = self.block(number).qkv(x)
            if number - 1 in wanted:
                projected[number] = qkv
            x = self.run_block(number, x, grid, intervene, qkv)
            if number in wanted:
                states[number] = x
        return Tokens(self, grid, states, intervene, projected)

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
            self._positions[key] = (
                native if grid == self.native_grid else resize_positions(native, self.native_grid, grid, rule)
            )
        return self._positions[key]

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """open_clip's own image embedding, not normalised; native size only."""
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
