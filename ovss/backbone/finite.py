"""Numbers that are not finite end a run: from NaN or infinity on, every comparison is false and every pixel class 0.

Weights are checked when they are loaded. What a pass computes is screened by one sum per tensor and one look at all of
them at its end, which costs nothing beside the pass; only when that fails, the pass is repeated block by block to name
where it began.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ovss.errors import InputError

if TYPE_CHECKING:
    from ovss.backbone import Backbone, Tokens

__all__ = ["check_blocks", "check_pass", "check_text"]


def check_weights(model: nn.Module, source: str) -> None:
    """Refuse weights that are not finite.

    Args:
        model: In the number format that it will compute in, because float16 turns values above 65504 into infinity.
        source: File or tag, for the message.

    Raises:
        InputError: Names the first tensor and how many of its values are wrong.
    """
    for name, tensor in model.named_parameters():
        if not _is_finite(tensor):
            wrong = int((~tensor.isfinite()).sum())
            raise InputError(
                f"weights '{source}': tensor '{name}' holds NaN or infinity in {wrong} of {tensor.numel()} values"
                f"{_advice(tensor.dtype)}"
            )


def check_text(backbone: "Backbone", queries: Sequence[str], texts: Sequence[str], rows: Tensor) -> None:
    """Refuse text embeddings that are not finite.

    Args:
        backbone: The model that made them.
        queries: Words, one per row.
        texts: For each word one sentence with it.
        rows: Embeddings (Q, E).

    Raises:
        InputError: Names the first word and the block of the text tower where it begins.
    """
    if _is_finite(rows):
        return
    first = int((~rows.isfinite()).any(dim=1).nonzero()[0])
    text: Any = getattr(backbone.model, "text", backbone.model)
    blocks = getattr(getattr(text, "transformer", None), "resblocks", ())
    states: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, output: states.append(output)) for block in blocks]
    try:
        backbone.encode_text([texts[first]])
    finally:
        for hook in hooks:
            hook.remove()
    raise InputError(
        f"the embedding of '{queries[first]}' is not finite: {_where(states, 1, 'its read-out')} of the text "
        f"tower of {backbone.name} ({backbone.pretrained}) gives NaN or infinity{_advice(backbone.dtype)}"
    )


def check_pass(tokens: "Tokens", scores: Mapping[str, Tensor], windows: Tensor, position: str) -> None:
    """Refuse what a pass computed where a value is not finite; waits once for the device.

    Args:
        tokens: The pass.
        scores: Patch scores per method label.
        windows: Its input (B, 3, H, W), to repeat the pass where a value is wrong.
        position: Its position rule.

    Raises:
        InputError: Names the block where it begins, or the method.
    """
    seen = [tokens.hidden(max(tokens.kept)), *scores.values()]
    # A sum is not finite where a value is not; taken in float32, because a sum of finite float16 values may overflow.
    if bool(torch.stack([tensor.sum(dtype=torch.float32) for tensor in seen]).isfinite().all()):
        return
    check_blocks(tokens.backbone, windows, position)
    for label, found in scores.items():
        if not _is_finite(found):
            backbone = tokens.backbone
            raise InputError(
                f"method '{label}' makes scores that are not finite from hidden states of {backbone.name} "
                f"({backbone.pretrained}) that are{_advice(backbone.dtype)}"
            )


@torch.inference_mode()
def check_blocks(backbone: "Backbone", windows: Tensor, position: str) -> None:
    """Repeat a pass and look at every hidden state.

    Args:
        backbone: The model.
        windows: Normalised windows (B, 3, H, W).
        position: How the position embedding is resized; see `Backbone.encode_tokens`.

    Raises:
        InputError: One is not finite; names the block where it begins.
    """
    again = backbone.encode_tokens(windows, layers=range(backbone.depth + 1), position=position)
    states = [again.hidden(layer) for layer in range(backbone.depth + 1)]
    if all(_is_finite(state) for state in states):
        return
    raise InputError(
        f"hidden states of {backbone.name} ({backbone.pretrained}) hold NaN or infinity from "
        f"{_where(states, 0, '')} of {backbone.depth} on{_advice(backbone.dtype)}"
    )


def _where(states: Sequence[Tensor], first: int, otherwise: str) -> str:
    for number, state in enumerate(states, first):
        if not _is_finite(state):
            return f"block {number}" if number else "the input of block 1"
    return otherwise


def _advice(dtype: torch.dtype) -> str:
    if dtype == torch.float16:
        return "; float16 ends at 65504, so try bfloat16 or float32 (--dtype)"
    return "; the weights do not suit this model, or their file is damaged"


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())
