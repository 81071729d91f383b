"""The dual path of CLIP Surgery and GEM: a second residual stream beside the original one, over the last blocks."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.methods.base import Method
from ovss.methods.parameters import parameter

_LAST_BLOCKS = 6


@dataclass(frozen=True)
class DualPath(Method):
    """The attention outputs of the last blocks on top of the input of the first of them, without any FFN.

    The original path continues as usual, and all queries, keys and values are its own. A method says by `mix_block` how
    a block mixes its values.
    """

    blocks: int | None = parameter(
        None,
        "last blocks beside which the new path runs; None: 6, or half of fewer than 12",
        "authors' code",
        "[1, inf)",
    )

    def path(self, depth: int) -> range:
        """Numbers of the blocks that the new path passes.

        Args:
            depth: Number of blocks of the model.

        Raises:
            InputError: The model has fewer blocks.
        """
        count = self.blocks if self.blocks is not None else min(_LAST_BLOCKS, max(1, depth // 2))
        if count > depth:
            raise InputError(f"{self.name}: blocks={count} is outside 1..{depth}, the blocks of this model")
        return range(depth - count + 1, depth + 1)

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the inputs of the last blocks."""
        return frozenset(number - 1 for number in self.path(depth))

    def stream(self, tokens: Tokens) -> Float[Tensor, "B T D"]:
        """All tokens at the end of the new path, CLS first."""
        path = self.path(tokens.depth)
        x = tokens.hidden(path[0] - 1)
        for number in path:
            x = x + tokens.block(number).merge(self.mix_block(tokens, number))
        return x
