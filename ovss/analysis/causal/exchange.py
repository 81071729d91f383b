"""Two images in one pass: the blocks of one look where those of the other look, or mix what those of the other hold.

Whose object does the label follow then: that of the image whose attention it is, or that of the image whose values are
mixed?
"""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.causal.edits import Edit, EditedBackbone
from ovss.analysis.frames import check_images, choose_blocks
from ovss.backbone import Tokens
from ovss.backbone.block import QKV
from ovss.errors import InputError
from ovss.methods import Method

__all__ = ["exchanged", "followed_image"]

_WHAT = ("attention", "values")


class _Exchange(Edit):
    """Some blocks take queries and keys, or values, from another pass of as many images."""

    edits_qkv = True

    def __init__(self, other: Tokens, what: str, blocks: Sequence[int]) -> None:
        self._other, self._what, self._blocks = other, what, frozenset(blocks)
        self.first_block = min(blocks)

    def qkv(self, layer: int, qkv: QKV) -> QKV:
        """See `Edit.qkv`; where prefix tokens are left out, those of the other pass are, too."""
        if layer not in self._blocks:
            return qkv
        rows = qkv[0].shape[2]
        q, k, v = (part[:, :, -rows:] for part in self._other.qkv(layer))
        return (q, k, qkv[2]) if self._what == "attention" else (qkv[0], qkv[1], v)


def exchanged(tokens: Tokens, other: Tokens, what: str, blocks: Iterable[int] | None = None) -> Tokens:
    """The pass over some images in which blocks take their attention, or their values, from other images.

    Args:
        tokens: Pass over B images, with all states kept.
        other: Pass over as many others, on an equal grid.
        what: "attention": queries and keys come from the others, so blocks look where those look, and mix what is here.
            "values": blocks look as they do here, and mix what the others hold.
        blocks: In which blocks, 1-based; None: in the last one alone. Later blocks see what follows from it.

    Raises:
        InputError: Another word, a block that is not there, passes of unequal sizes.
    """
    if what not in _WHAT:
        raise InputError(f"what='{what}' must be one of {', '.join(_WHAT)}")
    if (tokens.batch, tokens.grid) != (other.batch, other.grid):
        raise InputError(
            f"{tokens.batch} images on a grid of {tokens.grid} cannot take from {other.batch} on {other.grid}"
        )
    chosen = choose_blocks(tokens, [tokens.depth] if blocks is None else blocks)
    if not chosen:
        raise InputError("blocks names no block")
    return EditedBackbone(tokens.backbone, _Exchange(other, what, chosen)).continued(tokens)


@torch.inference_mode()
def followed_image(
    tokens: Tokens,
    other: Tokens,
    method: Method,
    text: Float[Tensor, "C E"],
    what: str,
    blocks: Iterable[int] | None = None,
    *,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Whose label a patch has after an exchange, on the patches where the two images have different ones.

    Args:
        tokens: Pass over B images, with all states kept.
        other: Pass over B others; image b takes from image b.
        method: Reads both, and the exchanged pass.
        text: Unit text embedding of each class.
        what: See `exchanged`.
        blocks: See `exchanged`.
        images: Names of the images.

    Returns:
        A row per image: image, what, patches (where the labels of the untouched passes differ), and the shares of them
        that have the label of the image itself (own), of the other one (other), or a third (neither); NaN without any.

    Example:
        >>> import ovss, torch
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> a, b = (backbone.encode_tokens(pixels[i : i + 1]) for i in (0, 1))
        >>> text = torch.eye(128)[:6]
        >>> found = followed_image(a, b, ovss.create_method("maskclip"), text, "values")
        >>> found[["own", "other", "neither"]].values.tolist()  # the label follows the values
        [[0.0, 1.0, 0.0]]
    """
    here, there, now = (
        method.patch_scores(one, text).argmax(1).flatten(1)
        for one in (tokens, other, exchanged(tokens, other, what, blocks))
    )
    differ = here != there
    count = differ.sum(1)
    shares = {
        "own": ((now == here) & differ).sum(1) / count,
        "other": ((now == there) & differ).sum(1) / count,
        "neither": ((now != here) & (now != there) & differ).sum(1) / count,
    }
    frame = pd.DataFrame({"image": check_images(images, tokens.batch), "what": what, "patches": count.tolist()})
    return frame.assign(**{name: share.double().cpu().numpy() for name, share in shares.items()})
