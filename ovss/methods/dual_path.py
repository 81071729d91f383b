"""The dual path of CLIP Surgery and GEM: a second residual stream beside the original one, over the last blocks."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError

_LAST_BLOCKS = 6


def dual_path_blocks(method: str, blocks: int | None, depth: int) -> range:
    """Numbers of the blocks that the new path passes.

    Args:
        method: Name of the method, for the message.
        blocks: How many; None is 6, or half of the blocks of a model shallower than 12.
        depth: Number of blocks of the model.

    Raises:
        InputError: The model has fewer blocks.
    """
    count = blocks if blocks is not None else min(_LAST_BLOCKS, max(1, depth // 2))
    if count > depth:
        raise InputError(f"{method}: blocks={count} is outside 1..{depth}, the blocks of this model")
    return range(depth - count + 1, depth + 1)


def dual_path(
    tokens: Tokens, blocks: range, mix: Callable[[Tokens, int], Float[Tensor, "B H T d"]]
) -> Float[Tensor, "B T D"]:
    """Sum of the attention outputs of some blocks on top of the input of the first one, without any FFN.

    The original path continues as usual, and all queries, keys and values are its own.

    Args:
        tokens: One backbone pass.
        blocks: Consecutive block numbers.
        mix: Attention-weighted values of a block.
    """
    x = tokens.hidden(blocks[0] - 1)
    for number in blocks:
        x = x + tokens.block(number).merge(mix(tokens, number))
    return x
