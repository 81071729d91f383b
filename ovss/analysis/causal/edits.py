"""A pass through the image tower in which something is changed, without touching the model.

`EditedBackbone` shares the model's modules and wraps the blocks when they are asked for. Nothing is hooked or written,
so that nothing is left behind, whatever happens on the way.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.analysis.causal.means import Means, Place
from ovss.analysis.causal.parts import Part
from ovss.backbone import Backbone, Block, Tokens
from ovss.backbone.block import QKV
from ovss.errors import InputError


class Edit:
    """What a pass changes; this one changes nothing.

    Attributes:
        first_block: First block that computes something else than in the untouched pass.
        edits_qkv: Whether `qkv` changes anything.
        opened: Blocks whose FFN is run in two halves, so that its neurons can be seen in between.
    """

    first_block: int = 1
    edits_qkv: bool = False
    opened: frozenset[int] = frozenset()

    def qkv(self, layer: int, qkv: QKV) -> QKV:
        """Queries, keys and values of a block, as they are used."""
        return qkv

    def heads(self, layer: int, y: Float[Tensor, "B H R d"], grid: tuple[int, int]) -> Float[Tensor, "B H R d"]:
        """What the heads of a block mixed, in front of the output projection."""
        return y

    def fired(self, layer: int, x: Float[Tensor, "B R F"], grid: tuple[int, int]) -> Float[Tensor, "B R F"]:
        """Activations within the FFN of a block, of those in `opened` and where a method asks for them."""
        return x

    def added(self, kind: str, layer: int, x: Float[Tensor, "B R D"], grid: tuple[int, int]) -> Float[Tensor, "B R D"]:
        """What "attention" or "ffn" of a block adds to the residual stream."""
        return x

    def state(self, layer: int, x: Float[Tensor, "B T D"], grid: tuple[int, int]) -> Float[Tensor, "B T D"]:
        """Hidden state `layer`."""
        return x


class _EditedBlock(Block):
    """A block of the model, seen through an edit."""

    def __init__(self, inner: Block, layer: int, edit: Edit) -> None:
        super().__init__(inner.module, inner.grid)
        self.inner, self.layer, self.edit = inner, layer, edit

    def norm(self, x: Tensor) -> Tensor:
        """See `Block.norm`."""
        return self.inner.norm(x)

    def qkv(self, x: Tensor) -> QKV:
        """See `Block.qkv`."""
        return self.edit.qkv(self.layer, self.inner.qkv(x))

    def kv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Block.kv`."""
        return self.qkv(x)[1:] if self.edit.edits_qkv else self.inner.kv(x)

    def value(self, x: Tensor) -> Tensor:
        """See `Block.value`."""
        return self.qkv(x)[2] if self.edit.edits_qkv else self.inner.value(x)

    def merge(self, y: Tensor) -> Tensor:
        """See `Block.merge`."""
        return self.edit.added(
            "attention", self.layer, self.inner.merge(self.edit.heads(self.layer, y, self.grid)), self.grid
        )

    def ffn(self, x: Tensor) -> Tensor:
        """See `Block.ffn`."""
        if self.layer in self.edit.opened:
            return self.project_neurons(self.neurons(x))
        return self.edit.added("ffn", self.layer, self.inner.ffn(x), self.grid)

    def neurons(self, x: Tensor) -> Tensor:
        """See `Block.neurons`."""
        return self.edit.fired(self.layer, self.inner.neurons(x), self.grid)

    def project_neurons(self, fired: Tensor) -> Tensor:
        """See `Block.project_neurons`."""
        return self.edit.added("ffn", self.layer, self.inner.project_neurons(fired), self.grid)


class EditedBackbone(Backbone):
    """A model whose passes are edited; it shares the weights with the one that it is made of.

    Args:
        backbone: The model.
        edit: What is changed; for one pass.
    """

    def __init__(self, backbone: Backbone, edit: Edit) -> None:
        self.__dict__.update(backbone.__dict__)
        self._edit = edit

    def block(self, layer: int, grid: tuple[int, int] | None = None) -> Block:
        """See `Backbone.block`."""
        return _EditedBlock(super().block(layer, grid), layer, self._edit)

    def run_block(
        self, layer: int, x: Tensor, grid: tuple[int, int], intervene: object = None, qkv: QKV | None = None
    ) -> Tensor:
        """See `Backbone.run_block`."""
        return self._edit.state(layer, super().run_block(layer, x, grid, intervene, qkv), grid)  # pyright: ignore

    def recorded(self, images: Float[Tensor, "B 3 H W"], layers: Iterable[int], position: str) -> Tokens:
        """A pass from the pixels on that shows its edit all hidden states; see `Backbone.encode_tokens`."""
        tokens = self.encode_tokens(images, layers, position)
        self._edit.state(0, tokens.hidden(0), tokens.grid)
        return tokens

    def continued(self, tokens: Tokens) -> Tokens:
        """The edited pass over the images of an untouched one, from the first block on that computes something else.

        Args:
            tokens: The untouched pass, with all hidden states up to the input of the last block.
        """
        first, highest = self._edit.first_block, max(tokens.kept)
        states = {layer: tokens.hidden(layer) for layer in range(first)}
        enters = self._edit.state(first - 1, states[first - 1], tokens.grid)
        same = enters is states[first - 1] and not self._edit.edits_qkv
        states[first - 1] = enters
        known = {layer: tokens.qkv(layer) for layer in range(1, first + same)}
        edited = Tokens(self, tokens.grid, states, qkv=known)
        # At once, so that a method which comes by a block again does so after the block itself has run.
        edited.hidden(highest)
        return edited


class _Counting(Edit):
    """An edit that counts how often a pass has come by each place."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, int]] = Counter()

    def _place(self, kind: str, layer: int) -> Place:
        self._calls[kind, layer] += 1
        return kind, layer, self._calls[kind, layer]


class Record(_Counting):
    """Changes nothing and takes the means of what it sees.

    Args:
        means: Where they go.
        opened: Blocks whose neurons have means, too.
    """

    def __init__(self, means: Means, opened: Iterable[int] = ()) -> None:
        super().__init__()
        self._means, self.opened = means, frozenset(opened)

    def fired(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.fired`."""
        if layer in self.opened:
            self._means.add(self._place("neurons", layer), x, grid)
        return x

    def heads(self, layer: int, y: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.heads`."""
        self._means.add(self._place("head", layer), y, grid)
        return y

    def added(self, kind: str, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.added`."""
        self._means.add(self._place(kind, layer), x, grid)
        return x

    def state(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.state`."""
        self._means.add(self._place("state", layer), x, grid)
        return x


class Replace(_Counting):
    """Puts something else in the place of parts.

    Args:
        parts: Changed together.
        prefix: Number of prefix tokens of the model.
        means: For parts with how="mean".
        partner: For how="swap": number of the window that each window of the batch takes the part of.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        prefix: int,
        means: Means | None = None,
        partner: Int[Tensor, " B"] | None = None,
    ) -> None:
        super().__init__()
        self._parts = tuple(parts)
        self._prefix, self._means, self._partner = prefix, means, partner
        self.first_block = min(part.first_block for part in parts)
        self.opened = frozenset(part.block for part in parts if part.neurons)

    def fired(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.fired`."""
        place, result = self._place("neurons", layer), x
        for part in self._parts:
            if part.neurons and part.block == layer:
                numbers = list(part.neurons)
                result = result.clone() if result is x else result
                result[..., numbers] = self._other(part, x, place, grid)[..., numbers]
        return result

    def heads(self, layer: int, y: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.heads`."""
        place, result = self._place("head", layer), y
        for part in self._parts:
            if part.head is not None and part.block == layer:
                result = result.clone() if result is y else result
                result[:, part.head - 1] = self._other(part, y, place, grid)[:, part.head - 1]
        return result

    def added(self, kind: str, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.added`."""
        place = self._place(kind, layer)
        for part in self._parts:
            if part.kind == kind and part.block == layer:
                x = self._other(part, x, place, grid)
        return x

    def state(self, layer: int, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Edit.state`."""
        place, result = self._place("state", layer), x
        for part in self._parts:
            if part.of_state and part.block == layer:
                result = result.clone() if result is x else result
                if part.kind == "tokens":
                    rows = self._numbers(part, x.shape[1], grid)
                    result[:, rows] = self._other(part, x, place, grid)[:, rows]
                else:
                    result[..., part.channel] = self._other(part, x, place, grid)[..., part.channel]
        return result

    def _other(self, part: Part, x: Tensor, place: Place, grid: tuple[int, int]) -> Tensor:
        """What stands for `x`."""
        if part.how == "zero":
            return torch.zeros_like(x)
        if part.how == "clip":
            size = x.abs()
            size[..., part.channel] = 0
            limit = size.amax(-1, keepdim=True)
            return torch.maximum(torch.minimum(x, limit), -limit)
        if part.how == "mean":
            if self._means is None:
                raise InputError(f"part '{part}' needs the means of the untouched pass")
            return self._means.like(place, x, grid)
        if self._partner is None or len(self._partner) != len(x):
            raise InputError(f"part '{part}' needs a partner for each of {len(x)} windows")
        return x[self._partner]

    def _numbers(self, part: Part, rows: int, grid: tuple[int, int]) -> list[int]:
        """Rows of the tokens; in a pass with more prefix tokens than the model has, patches stay patches."""
        more = rows - grid[0] * grid[1] - self._prefix
        if part.tokens and max(part.tokens) >= rows - more:
            raise InputError(f"part '{part}': token {max(part.tokens)} is outside 0..{rows - more - 1}")
        return [number + (more if number >= self._prefix else 0) for number in part.tokens]
