"""Attention kernels of the last block: which token looks at which, and with which bias."""

from collections.abc import Callable, Container, Iterable, Iterator
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.backbone import JoinedTokens, Tokens

_QKV = tuple[Tensor, Tensor, Tensor]
_ByRows = Callable[[slice], Tensor]
"""Some rows of a table that is too large to be held."""
PAIRS = ("qq", "kk", "vv", "qk")
_ENTRIES = 2**23
"""Entries of a table among all patches of an image that are held at a time."""


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """The rows of a table, as many at a time as may be held."""
    step = max(1, _ENTRIES // columns)
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def attend(
    qkv: _QKV,
    pair: str,
    bias: Float[Tensor, "#B #H T T"] | Float[Tensor, "T T"] | _ByRows | None = None,
    values: Float[Tensor, "B H T d"] | None = None,
    factor: float = 1.0,
) -> Float[Tensor, "B H T d"]:
    """softmax(factor a b^T / sqrt d + bias) v, per head, without building the map.

    Args:
        qkv: Queries, keys and values of a block, each (B, heads, T, d).
        pair: Which two of them are compared, for instance "kk".
        bias: Added to the scaled logits: a table, or a function that makes some of its rows.
        values: What is weighted, where it is not v.
        factor: Of the logits before the bias.
    """
    parts = dict(zip("qkv", qkv, strict=True))
    q, k, v = parts[pair[0]], parts[pair[1]], qkv[2] if values is None else values
    scale = factor * q.shape[-1] ** -0.5
    if callable(bias):
        chunks = row_chunks(q.shape[2], k.shape[2])
        return torch.cat([_attend(q[:, :, rows], k, v, bias(rows), scale) for rows in chunks], dim=2)
    return _attend(q, k, v, bias, scale)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    mask = None if bias is None else bias.to(v.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def attend_last(
    tokens: Tokens, pair: str, values: Float[Tensor, "B H T d"] | None = None, sigma: float | None = None
) -> Float[Tensor, "B H T d"]:
    """`attend` in the last block as it is; of its own values once for all methods of a pass.

    Args:
        tokens: One backbone pass.
        pair: Which two of q, k and v are compared.
        values: What is weighted, where it is not v.
        sigma: Width in patches of the `neighbourhood` that is added to the logits; None: none is.
    """

    def mixed() -> Tensor:
        bias = None if sigma is None else neighbourhood(tokens, sigma)
        return attend(tokens.qkv(tokens.depth), pair, bias=bias, values=values)

    return mixed() if values is not None else tokens.shared(("attend", pair, sigma), mixed)


def attend_middle(
    tokens: Tokens, blocks: tuple[int, ...], values: Float[Tensor, "B H T d"]
) -> Float[Tensor, "B H T d"]:
    """Values under the mean over blocks of softmax(q k^T / sqrt d).

    Args:
        tokens: One backbone pass; among joined windows no map is built.
        blocks: Block numbers, 1-based.
        values: What is weighted.
    """
    if isinstance(tokens, JoinedTokens):
        return torch.stack([attend(tokens.qkv(block), "qk", values=values) for block in blocks]).mean(0)
    return shared_attention(tokens, blocks).to(values.dtype) @ values


def spread(weights: Float[Tensor, "B T T"], values: Float[Tensor, "B H T d"]) -> Float[Tensor, "B H T d"]:
    """Values of all heads under one attention: a single product, without a copy of the attention for each head."""
    mixed = weights.to(values.dtype) @ values.transpose(1, 2).flatten(2)  # (B, T, heads * d)
    return mixed.unflatten(-1, (values.shape[1], -1)).transpose(1, 2)


def attention_map(qkv: _QKV, pair: str) -> Float[Tensor, "B H T T"]:
    """softmax(a b^T / sqrt d) in float32, for methods that need the map itself.

    Args:
        qkv: Queries, keys and values of a block, each (B, heads, T, d).
        pair: Which two of them are compared.
    """
    parts = dict(zip("qkv", qkv, strict=True))
    a, b = parts[pair[0]].float(), parts[pair[1]].float()
    return torch.softmax(a * a.shape[-1] ** -0.5 @ b.mT, dim=-1)


def patch_qkv(qkv: _QKV, prefix: int) -> _QKV:
    """Queries, keys and values of the patches alone, without the prefix tokens in front of them."""
    q, k, v = qkv
    return q[:, :, prefix:], k[:, :, prefix:], v[:, :, prefix:]


def sharpest_heads(maps: Float[Tensor, "B H T T"], count: int) -> Bool[Tensor, "B H 1 1"]:
    """The heads whose attention has the lowest entropy, -sum of a log2(a + 1e-6) over all entries (DIH-CLIP).

    Args:
        maps: Attention per head.
        count: How many heads; all where there are fewer. Of equal ones the first.
    """
    diffuse = -(maps + 1e-6).log2_().mul_(maps).sum(dim=(-2, -1))  # (B, H)
    order = diffuse.argsort(dim=-1, stable=True)[:, :count]
    return torch.zeros_like(diffuse, dtype=torch.bool).scatter(1, order, True)[..., None, None]


def middle_attention(tokens: Tokens, blocks: Iterable[int], pair: str = "qk") -> Float[Tensor, "B H T T"]:
    """Mean over blocks of softmax(a b^T / sqrt d), head by head, in float32.

    Args:
        tokens: One backbone pass.
        blocks: Block numbers, 1-based.
        pair: Which two of q, k and v are compared.
    """
    parts = [tokens.qkv(block) for block in blocks]
    return _summed(parts, pair).div_(len(parts))


def _summed(parts: Iterable[_QKV], pair: str, total: Tensor | None = None) -> Float[Tensor, "B H T T"]:
    """Attention maps of several blocks, added up: to `total`, which is changed, where it is given."""
    for qkv in parts:
        maps = attention_map(qkv, pair)
        total = maps if total is None else total.add_(maps)
    assert total is not None
    return total


def shared_attention(tokens: Tokens, blocks: tuple[int, ...]) -> Float[Tensor, "B H T T"]:
    """`middle_attention` that several methods need on a pass: made for the first of them, not to be changed."""
    return tokens.shared(("middle attention", blocks), lambda: middle_attention(tokens, blocks))


def key_attention(keys: Iterable[Float[Tensor, "B H T d"]]) -> Float[Tensor, "B H T T"]:
    """Mean of softmax(k k^T / sqrt d) over the keys of several blocks, head by head, in float32."""
    parts = [(k, k, k) for k in keys]
    return _summed(parts, "kk").div_(len(parts))


def balanced_attention(
    tokens: Tokens, once: bool = False, layers: Container[int] | None = None, shared: tuple[int, ...] = ()
) -> Iterator[Float[Tensor, "B H T T"]]:
    """Attention of the layers 1..L made of that of all blocks but the last, added up (CLIPer), in float32.

    For each layer the columns of the sum are divided by their sums, then the rows: once more than for the layer before,
    since the authors' code does it in place. The attention is the symmetric part of the result, less the mean of each
    column, clamped at zero, rows scaled to sum 1.

    Args:
        tokens: One backbone pass of at least two blocks.
        once: Normalise once for all layers (the paper).
        layers: Which layers are wanted; None: all.
        shared: Blocks whose `shared_attention` is added as a whole, as far as the last one is not among them.
    """
    # A mean will do as well as a sum, and a sum as a symmetric part: divisions cancel the factor. Dividing columns and
    # rows leaves the map between two diagonal matrices, so a round is two products with a vector.
    shared = tuple(block for block in shared if block < tokens.depth)
    total = len(shared) * shared_attention(tokens, shared) if shared else None
    others = (tokens.qkv(block) for block in range(1, tokens.depth) if block not in shared)
    total = _summed(others, "qk", total)
    rows = torch.ones_like(total[..., :1])
    balanced = columns = None
    for layer in range(1, tokens.depth + 1):
        if columns is None or not once:
            columns = (rows.mT @ total).reciprocal()  # (B, H, 1, T)
            rows = (total @ columns.mT).reciprocal()  # (B, H, T, 1)
            balanced = None
        if layers is None or layer in layers:
            if balanced is None:
                scaled = (total * rows).mul_(columns)
                mutual = scaled + scaled.mT
                mutual.sub_(mutual.mean(-2, keepdim=True)).clamp_min_(0)
                balanced = mutual.div_(mutual.sum(-1, keepdim=True).clamp_min(torch.finfo(mutual.dtype).tiny))
            yield balanced


@lru_cache(maxsize=8)
def gaussian_window(grid: tuple[int, int], sigma: float, device: torch.device, prefix: int = 1) -> Float[Tensor, "T T"]:
    """NACLIP's Omega: a Gaussian of the distance between two patches, peak 1, not normalised.

    Built from the coordinates: the table of a grid is the product of one table over rows and one over columns.

    Args:
        grid: Patch rows and columns (h, w).
        sigma: Standard deviation in patches.
        device: Where the table is kept.
        prefix: Rows and columns of zeros in front, for CLS and registers.

    Returns:
        Table (prefix + h * w, prefix + h * w), in float32.
    """
    # It is kept, so it must also do where gradients are asked for.
    with torch.inference_mode(False):
        rows, columns = (
            _gaussian((at[:, None] - at[None, :]) ** 2, sigma)
            for at in (torch.arange(side, dtype=torch.float32, device=device) for side in grid)
        )
        table = torch.kron(rows, columns)  # (N, N)
        return F.pad(table, (prefix, 0, prefix, 0))


def neighbourhood(tokens: Tokens, sigma: float) -> Tensor | _ByRows:
    """`gaussian_window` of the tokens, CLS included, for `attend`; of joined windows by rows.

    The distance of two patches of joined windows is that of their places in the image.
    """
    if isinstance(tokens, JoinedTokens):
        return partial(_window_rows, tokens.places / tokens.backbone.patch_size, sigma, tokens.prefix)
    return gaussian_window(tokens.grid, sigma, tokens.backbone.device, tokens.prefix)


def _window_rows(places: Float[Tensor, "N 2"], sigma: float, prefix: int, rows: slice) -> Float[Tensor, "R T"]:
    own = places[max(rows.start - prefix, 0) : max(rows.stop - prefix, 0)]
    table = _gaussian((own[:, None] - places).square().sum(-1), sigma)
    return F.pad(table, (prefix, 0, rows.stop - rows.start - len(own), 0))


def _gaussian(squared: Tensor, sigma: float) -> Tensor:
    """exp(-d^2 / 2 sigma^2) of squared distances: one everywhere for a huge sigma, the identity for a minute one."""
    return torch.exp(-squared / max(2 * sigma * sigma, torch.finfo(squared.dtype).tiny))


def attend_neighbours(
    qkv: _QKV, window: Tensor | _ByRows, values: Float[Tensor, "B H T d"] | None = None
) -> Float[Tensor, "B H T d"]:
    """softmax(`logit_bound` Omega) v: the neighbourhood alone (NACLIP's ablation).

    Args:
        qkv: Queries, keys and values of a block, each (B, heads, T, d).
        window: See `neighbourhood`.
        values: What is weighted, where it is not v.
    """
    v, bound = qkv[2] if values is None else values, logit_bound(qkv)[:, None, None, None]
    tables = map(window, row_chunks(v.shape[2], v.shape[2])) if callable(window) else (window,)
    return torch.cat([torch.softmax(bound * table, dim=-1).to(v.dtype) @ v for table in tables], dim=2)


def logit_bound(qkv: _QKV) -> Float[Tensor, " B"]:
    """Mean over heads and token pairs of |q_i| |k_j| / sqrt d, per image: the size a logit could have (NACLIP)."""
    q, k, _ = (part.float() for part in qkv)
    norms = q.norm(dim=-1).mean(-1) * k.norm(dim=-1).mean(-1)  # (B, heads): a mean of products is a product of means
    return norms.mean(-1) * q.shape[-1] ** -0.5
