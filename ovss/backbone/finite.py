"""Numbers that are not finite end a run: from NaN or infinity on, every comparison is false and every pixel class 0.

Weights are checked when they are loaded. What a pass computes is screened by one sum per tensor and one look at all of
them at its end, which costs nothing beside the pass; only when that fails, the pass is repeated block by block to name
where it began.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ovss.backbone.devices import to_host
from ovss.errors import InputError

if TYPE_CHECKING:
    from ovss.backbone import Backbone, Tokens

__all__ = ["Finite", "check_blocks", "check_text"]


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


class Finite:
    """Whether what passes computed is finite: asked of the device pass by pass, answered once, at the end of a batch.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> windows, scores = torch.zeros(1, 3, 64, 64), torch.tensor([0.5, torch.inf])
        >>> finite = Finite()
        >>> finite.ask(backbone.encode_tokens(windows), {"mine": scores}, lambda: windows, "scale")
        >>> finite.check()
        Traceback (most recent call last):
        ovss.errors.InputError: method 'mine' makes scores that are not finite from hidden states of tiny (...
    """

    def __init__(self) -> None:
        self._asked: list[tuple[Tensor, Callable[[], None]]] = []

    def ask(self, tokens: "Tokens", scores: Mapping[str, Tensor], windows: Callable[[], Tensor], position: str) -> None:
        """Ask for one pass; waits for nothing.

        Args:
            tokens: The pass.
            scores: Patch scores per method label.
            windows: Gives its input (B, 3, H, W) once more, to repeat the pass where a value is wrong.
            position: Its position rule.
        """
        seen, backbone = [tokens.hidden(max(tokens.kept)), *scores.values()], tokens.backbone
        # A sum is not finite where a value is not; in float32, because a sum of finite float16 values may overflow.
        good = torch.stack([tensor.sum(dtype=torch.float32) for tensor in seen]).isfinite().all()

        def explain() -> None:
            check_blocks(backbone, windows(), position)
            for label, found in scores.items():
                if not _is_finite(found):
                    raise InputError(
                        f"method '{label}' makes scores that are not finite from hidden states of {backbone.name} "
                        f"({backbone.pretrained}) that are{_advice(backbone.dtype)}"
                    )

        self._asked.append((good, explain))

    @property
    def answers(self) -> list[Tensor]:
        """Whether each pass is finite, on the device."""
        return [good for good, _ in self._asked]

    def check(self, answers: Sequence[np.ndarray] | None = None) -> None:
        """Refuse what is not finite; what is has been asked for, once.

        Args:
            answers: `answers`, where they have come back with other numbers; None: fetched here, which waits.

        Raises:
            InputError: Names the block where it begins, or the method.
        """
        known = to_host(self.answers) if answers is None else answers
        for good, (_, explain) in zip(known, self._asked, strict=True):
            if not good:
                explain()
        self._asked.clear()


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
