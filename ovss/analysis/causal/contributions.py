"""Which head said what: the score of a patch as the sum of what each head of the last block adds to it."""

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Block, Tokens
from ovss.errors import InputError
from ovss.methods import Method

__all__ = ["check_contributions", "head_scores"]

_TOLERANCE = 1e-4
"""Share of the largest value by which heads may miss their sum, before the block counts as one that is not linear."""


@torch.inference_mode()
def head_scores(tokens: Tokens, method: Method, text: Float[Tensor, "C E"]) -> Float[Tensor, "B P C h w"]:
    """What each head of the last block adds to a method's score of each patch.

    Without residual and FFN the last block is a linear map of what its heads mix, and so is the read-out but for two
    divisions: by the standard deviation in the final norm, and by the length of the embedding. Both are taken as they
    are for the whole patch; the mean that the norm takes off is linear, so each head loses its own. Then contributions
    add up to the score. They say what heads add, not what the score would be without one (the norms would differ; see
    `ablate`).

    Args:
        tokens: One backbone pass.
        method: A method that is `mix` alone in the last block, without residual and FFN.
        text: Text embeddings, rows of unit length.

    Returns:
        For P = heads + 1 summands, the last one being what biases add whatever the image shows; the sum over them is
        `method.patch_scores(tokens, text)` up to rounding (1e-5 in float32).

    Example:
        >>> import torch, ovss
        >>> from ovss.analysis.causal import head_scores
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> tokens = backbone.encode_tokens(torch.rand(1, 3, 64, 64))
        >>> text = torch.nn.functional.normalize(torch.rand(3, 128), dim=-1)
        >>> method = ovss.create_method("naclip")
        >>> parts = head_scores(tokens, method, text)
        >>> tuple(parts.shape), bool((parts.sum(1) - method.patch_scores(tokens, text)).abs().max() < 1e-5)
        ((1, 5, 3, 8, 8), True)

    Raises:
        InputError: The method keeps residual or FFN, or does more than mix; the block norms its heads together; the
            read-out is not linear.
    """
    check_contributions(method)
    mixed = method.mix(tokens)  # (B, H, T or N, d)
    patches = tokens.grid[0] * tokens.grid[1]
    parts = _of_heads(tokens.block(tokens.depth), mixed, tokens.backbone.name)[:, :, -patches:]
    read = tokens.backbone.read_out_parts(parts).float()  # (P, B, N, E)
    length = read.sum(0).norm(dim=-1).clamp_min(1e-12)
    scores = torch.einsum("pbne,ce->bpcn", read, text.to(read)) / length[:, None, None]
    return scores.unflatten(-1, tokens.grid)


def check_contributions(method: Method) -> None:
    """Refuse a method whose scores are not the sum of what its heads add.

    Raises:
        InputError: Names what the method does besides.
    """
    kind = type(method)
    if kind.mix is Method.mix:
        raise InputError(f"method '{method.name}' has no single attention map in its last block to share scores out")
    kept = [name for name, there in zip(("residual", "FFN"), method.residual_and_ffn, strict=True) if there]
    if kept:
        raise InputError(
            f"method '{method.label}' keeps the {' and the '.join(kept)} of the last block; its scores are not the sum "
            "of what heads add"
        )
    for step in ("stream", "patch_embeddings", "patch_scores", "window_scores"):
        if getattr(kind, step) is not getattr(Method, step):
            raise InputError(
                f"method '{method.name}' has a `{step}` of its own, so that heads do not simply add up to its scores"
            )


def _of_heads(block: Block, mixed: Float[Tensor, "B H T d"], name: str) -> Float[Tensor, "P B T D"]:
    """Output of the attention as a sum over heads, and what biases add."""
    nothing = block.merge(torch.zeros_like(mixed))
    parts = []
    for head in range(mixed.shape[1]):
        alone = torch.zeros_like(mixed)
        alone[:, head] = mixed[:, head]
        parts.append(block.merge(alone) - nothing)
    found, whole = torch.stack([*parts, nothing]), block.merge(mixed)
    if (found.sum(0) - whole).abs().max() > _TOLERANCE * whole.abs().max():
        raise InputError(f"the last block of {name} norms its heads together; what they add cannot be told apart")
    return found
