"""All windows of an image as one sequence of tokens, for attention across window borders."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovss.backbone.devices import to_device
from ovss.backbone.tokens import Intervention, Tokens
from ovss.errors import InputError


class JoinedTokens(Tokens):
    """One or more passes over the windows of one image, joined: CLS of all windows, then patches window by window.

    To a method it is a batch of one image whose first `prefix` tokens are CLS tokens, and whose grid stacks the
    windows' grids. What acts on each token alone gives what it gives window by window; attention among the tokens
    crosses the borders. Blocks are never run on the joined sequence: states come from the windows.

    Args:
        parts: Passes over the windows, in the order of the windows.
        offsets: Pixel (y, x) of the image at which each window starts.

    Raises:
        InputError: Another number of offsets than of windows, or a model that rotates each patch by its place in its
            own window, so that patches of different windows cannot be compared.
    """

    def __init__(self, parts: Sequence[Tokens], offsets: Int[Tensor, "B 2"]) -> None:
        first, windows = parts[0], sum(part.batch for part in parts)
        if tuple(offsets.shape) != (windows, 2):
            raise InputError(f"offsets of {windows} windows must be ({windows}, 2), not {tuple(offsets.shape)}")
        if windows > 1 and first.backbone.rotary:
            raise InputError(
                f"{first.backbone.name} rotates each patch by its place in its own window; its windows cannot be joined"
            )
        super().__init__(first.backbone, (windows * first.grid[0], first.grid[1]), {}, first.intervene)
        self._parts = tuple(parts)
        self._offsets = offsets
        self.windows = windows
        self.prefix = windows * first.prefix

    @property
    def batch(self) -> int:
        """One image."""
        return 1

    @property
    def places(self) -> Int[Tensor, "N 2"]:
        """First pixel (y, x) of each patch in the image."""
        own = self._parts[0].places
        return (to_device(self._offsets, own.device)[:, None] + own).flatten(0, 1)

    def hidden(self, layer: int) -> Float[Tensor, "1 T D"]:
        """Hidden state `layer` of all windows; see `Tokens.hidden`."""
        if layer not in self._states:
            states, own = [part.hidden(layer) for part in self._parts], self._parts[0].prefix
            cls = [state[:, :own].flatten(0, 1) for state in states]
            self._states[layer] = torch.cat([*cls, *(state[:, own:].flatten(0, 1) for state in states)])[None]
        return self._states[layer]

    def intervened(self, intervene: Intervention) -> "Tokens":
        """The windows' other passes, joined; see `Tokens.intervened`."""
        if intervene not in self._passes:
            self._passes[intervene] = JoinedTokens([part.intervened(intervene) for part in self._parts], self._offsets)
        return self._passes[intervene]
