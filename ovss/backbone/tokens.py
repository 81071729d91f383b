"""Hidden states of one pass through the image tower: what every method is a function of."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.block import Block
from ovss.errors import InputError

_Made = TypeVar("_Made")
Intervention = Callable[[Tensor, tuple[int, int]], Tensor]
"""Change of a block's output (B, T, D) before the next block sees it, given the grid (h, w).

One that has a method `run(block, x, number, depth, qkv)` computes the block itself, too, from `x` and `block.qkv(x)`.
One that has `registers` adds as many tokens behind CLS, by a method `start(backbone, x)` on hidden state 0.
"""


class Tokens:
    """Hidden states of one backbone pass, shared by all methods.

    Hidden states are numbered 0 (input of block 1) to L (output of block L). The first `prefix`
    tokens of each are CLS and registers where the model has them, the others are patches in row-major order. States
    above the highest one held are computed from it when asked for, once.

    Example:
        >>> import torch, ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> tokens = backbone.encode_tokens(torch.zeros(1, 3, 32, 48))
        >>> tokens.grid, tuple(tokens.hidden(0).shape)
        ((4, 6), (1, 25, 128))
        >>> [tuple(part.shape) for part in tokens.qkv(backbone.depth)]
        [(1, 4, 25, 32), (1, 4, 25, 32), (1, 4, 25, 32)]

    Args:
        backbone: The `Backbone` that made them.
        grid: Patch rows and columns (h, w).
        states: Hidden states held, by number, each (B, prefix + N, D) with N = h * w.
        intervene: What was done to the output of each block before the next one saw it; None: nothing.
        qkv: Queries, keys and values that the pass has projected already, by block.

    Attributes:
        prefix: Number of tokens in front of the patches: CLS and registers, of the model or of an intervention.
        windows: Number of windows that an image's tokens come from; more than one where windows are joined, see
            `JoinedTokens`.
    """

    def __init__(
        self,
        backbone: Any,
        grid: tuple[int, int],
        states: dict[int, Tensor],
        intervene: Intervention | None = None,
        qkv: dict[int, tuple[Tensor, Tensor, Tensor]] | None = None,
    ) -> None:
        self.backbone = backbone
        self.grid = grid
        self.intervene = intervene
        self.windows = 1
        self.prefix = backbone.prefix + getattr(intervene, "registers", 0)
        self._states = states
        self._passes: dict[Intervention, Tokens] = {}
        self._qkv = qkv or {}
        self._shared: dict[Hashable, Any] = {}

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return self.backbone.depth

    @property
    def batch(self) -> int:
        """Number of windows B."""
        return next(iter(self._states.values())).shape[0]

    @property
    def places(self) -> Int[Tensor, "N 2"]:
        """First pixel (y, x) of each patch."""
        device, patch = self.backbone.device, self.backbone.patch_size
        return patch * torch.cartesian_prod(*(torch.arange(side, device=device) for side in self.grid))

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
            for number in range(max(below) + 1, layer + 1):
                # Every state on the way stays: who asks for the last one first must not run the others twice.
                self._states[number] = self.backbone.run_block(
                    number, self._states[number - 1], self.grid, self.intervene, self.qkv(number)
                )
        return self._states[layer]

    def patches(self, layer: int) -> Float[Tensor, "B N D"]:
        """Hidden state `layer` of the patches alone, without the prefix tokens in front of them."""
        return self.hidden(layer)[:, self.prefix :]

    def qkv(self, layer: int) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d"], Float[Tensor, "B H T d"]]:
        """Queries, keys and values of block `layer` (1-based) on its own input; computed once, then kept."""
        if not 1 <= layer <= self.depth:
            raise InputError(f"block {layer} is outside 1..{self.depth}, the blocks of {self.backbone.name}")
        if layer not in self._qkv:
            self._qkv[layer] = self.block(layer).qkv(self.hidden(layer - 1))
        return self._qkv[layer]

    def shared(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """An ingredient that several methods need on this pass: made for the first, held with the states for the rest.

        Args:
            key: All that it depends on apart from the pass.
            make: Makes it; who gets it must not change it.
        """
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def intervened(self, intervene: Intervention) -> "Tokens":
        """Another pass over the same images, from the input of block 1 on, with a change between the blocks.

        Blocks are run when their states are asked for. Equal interventions share one pass, which is kept.

        Args:
            intervene: Change of each block's output; compared by value where it is a frozen dataclass.

        Raises:
            InputError: Hidden state 0 was not kept.
        """
        if intervene not in self._passes:
            states, qkv = {0: self.backbone.begin(self.hidden(0), intervene)}, {}
            if not hasattr(intervene, "start") and not hasattr(intervene, "run"):
                # Up to the first change both passes are one, so that block 1 is not run again.
                states[1], qkv[1] = intervene(self.hidden(1), self.grid), self.qkv(1)
            self._passes[intervene] = Tokens(self.backbone, self.grid, states, intervene, qkv)
        return self._passes[intervene]

    def block(self, layer: int) -> Block:
        """Block `layer` (1-based) of the backbone, for tokens of this grid."""
        return self.backbone.block(layer, self.grid)

    def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """Residual-stream tokens into the joint image-text space; see `Backbone.read_out`. Not normalised."""
        return self.backbone.read_out(x)

    def dense(self) -> Float[Tensor, "B N E"]:
        """What the model would say about each patch of the last state alone; not normalised."""
        return self.read_out(self.patches(self.depth))

    def image_embedding(self) -> Float[Tensor, "B E"]:
        """What the model says about each image, recomposed from the last state: open_clip's `encode_image`."""
        return self.backbone.pooled(self.hidden(self.depth))
