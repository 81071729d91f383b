"""Which token attends to which: maps, rollout, entropy, distance, and patches that everyone attends to."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovss.analysis.frames import choose_blocks, join, tidy
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import attention_map


def attention(tokens: Tokens, layer: int, pair: str = "qk") -> Float[Tensor, "B H T T"]:
    """softmax(a b^T / sqrt d) of a block, per head, CLS first, in float32.

    Computed from the projections, because fused attention returns no map.

    Args:
        tokens: One backbone pass.
        layer: Block, 1-based.
        pair: Which of q, k and v are compared: "qk" is the model's own attention, "kk", "qq" and "vv" the
            self-attention of the methods; any other pair is allowed too.

    Raises:
        InputError: `pair` is not two letters of q, k and v.
    """
    if len(pair) != 2 or not set(pair) <= set("qkv"):
        raise InputError(f"pair '{pair}' must be two of the letters q, k and v, as in 'qk'")
    return attention_map(tokens.qkv(layer), pair)


def between_patches(maps: Float[Tensor, "... T T"], prefix: int = 1) -> Float[Tensor, "... N N"]:
    """Attention among patches: rows and columns of CLS and other prefix tokens dropped, rows summing to 1 again."""
    patches = maps[..., prefix:, prefix:]
    return patches / patches.sum(-1, keepdim=True).clamp_min(torch.finfo(patches.dtype).tiny)


def attention_of(
    tokens: Tokens, layer: int, patch: tuple[int, int] | None, pair: str = "qk"
) -> Float[Tensor, "B H h w"]:
    """One row of the attention as a map over the grid, per head; what goes to CLS is left out.

    Args:
        tokens: One backbone pass.
        layer: Block, 1-based.
        patch: Row and column of the patch that attends; None is CLS.
        pair: See `attention`.

    Raises:
        InputError: The patch is outside the grid, or the model has no CLS.
    """
    h, w = tokens.grid
    if patch is not None and not (0 <= patch[0] < h and 0 <= patch[1] < w):
        raise InputError(f"patch {patch} is outside the grid of {h} rows and {w} columns")
    if patch is None and not tokens.backbone.class_token:
        raise InputError(f"{tokens.backbone.name} has no class token that attends; name a patch")
    row = 0 if patch is None else tokens.prefix + patch[0] * w + patch[1]
    return attention(tokens, layer, pair)[:, :, row, tokens.prefix :].unflatten(-1, (h, w))


def rollout(maps: Sequence[Float[Tensor, "B H T T"]]) -> Float[Tensor, "B T T"]:
    """Attention rollout (Abnar and Zuidema, ACL 2020): what reaches a token through all blocks and their residuals.

    Args:
        maps: Attention of consecutive blocks, first block first; heads are averaged, as the definition says.

    Returns:
        Product of (head mean + identity) / 2, later blocks on the left; rows sum to 1.
    """
    if not maps:
        raise InputError("rollout needs the attention of at least one block")
    result = torch.eye(maps[0].shape[-1], device=maps[0].device).expand(len(maps[0]), -1, -1)
    for each in maps:
        result = (each.mean(1) @ result + result) / 2
    return result


def entropy(maps: Float[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """Normalised entropy of rows that sum to 1: -sum a log a / log N, from 0 (one patch) to 1 (all alike)."""
    if maps.shape[-1] == 1:
        return torch.zeros(maps.shape[:-1], device=maps.device)
    terms = torch.special.entr(maps).sum(-1)
    return terms / torch.log(torch.tensor(float(maps.shape[-1])))


def patch_distances(grid: tuple[int, int]) -> Float[Tensor, "N N"]:
    """Euclidean distance between the centres of any two patches, in patches."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()  # (N, 2)
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(maps: Float[Tensor, "... N N"], grid: tuple[int, int]) -> Float[Tensor, "... N"]:
    """Mean distance in patches to what each patch attends to: sum over j of a_ij |i - j|."""
    return (maps * patch_distances(grid).to(maps)).sum(-1)


def mass_within(maps: Float[Tensor, "... N N"], grid: tuple[int, int], radius: float) -> Float[Tensor, "... N"]:
    """Share of each patch's attention that falls within a radius of it.

    Args:
        maps: Attention among patches, rows summing to 1.
        grid: Patch rows and columns.
        radius: In patches; 0 is the patch itself.
    """
    return (maps * (patch_distances(grid) <= radius).to(maps)).sum(-1)


def global_patches(maps: Float[Tensor, "... N N"], deviations: float = 3.0) -> Bool[Tensor, "... N"]:
    """Patches that everyone attends to: columns of attention whose mean is 3 standard deviations above the others'.

    Observed in CLIP's last blocks by CLIPtrase (Shao et al., ECCV 2024, Sec. 3).

    Args:
        maps: Attention among patches.
        deviations: Threshold in (population) standard deviations of the column means.
    """
    received = maps.mean(-2)
    spread = received.std(-1, keepdim=True, correction=0)
    # Columns that differ by rounding alone have no outlier among them.
    floor = 1e-6 * received.mean(-1, keepdim=True)
    return received - received.mean(-1, keepdim=True) > torch.maximum(deviations * spread, floor)


def overlap(a: Bool[Tensor, "... N"], b: Bool[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """IoU of two sets of patches; NaN where both are empty."""
    return (a & b).sum(-1) / (a | b).sum(-1).float()


def top_patches(values: Float[Tensor, "B N"], counts: Tensor) -> Bool[Tensor, "B N"]:
    """The `counts` (B,) largest values of each image as a set; ties go to the lower index."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(values.shape[1]).to(order).expand_as(order))
    return rank < counts[:, None]


@torch.inference_mode()
def attention_statistics(
    tokens: Tokens,
    layers: Iterable[int] | None = None,
    *,
    pair: str = "qk",
    radius: float = 1.5,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """How wide and how alike attention is, per block and head; means over the patches of an image.

    Args:
        tokens: One backbone pass.
        layers: Blocks; None takes all.
        pair: See `attention`.
        radius: In patches, for `mass_near`; 1.5 holds the eight neighbours and the patch itself.
        images: Names of the images.

    Returns:
        Tidy frame of the measures entropy (0..1), distance (patches), mass_near (share of the attention within the
        radius), cls_share (share that patches give to CLS; NaN without one) and row_likeness (mean cosine of a row with
        the mean row: 1 where all patches attend alike).
    """
    frames = []
    for layer in choose_blocks(tokens, layers):
        full = attention(tokens, layer, pair)
        maps = between_patches(full, tokens.prefix)
        nothing = torch.full(full.shape[:2], torch.nan)
        likeness = torch.cosine_similarity(maps, maps.mean(-2, keepdim=True), dim=-1)
        values = {
            "entropy": entropy(maps).mean(-1),
            "distance": mean_distance(maps, tokens.grid).mean(-1),
            "mass_near": mass_within(maps, tokens.grid, radius).mean(-1),
            "cls_share": full[..., tokens.prefix :, 0].mean(-1) if tokens.backbone.class_token else nothing,
            "row_likeness": likeness.mean(-1),
        }
        frames += [tidy(name, value, layer, images) for name, value in values.items()]
    return join(frames)


@torch.inference_mode()
def global_statistics(
    tokens: Tokens, layers: Iterable[int] | None = None, *, images: Sequence[object] | None = None
) -> pd.DataFrame:
    """Patches that everyone attends to, per block.

    Args:
        tokens: One backbone pass.
        layers: Blocks; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame. Per head: global_patches (how many), strongest_column (largest column mean, 1 = uniform). Of the
        head mean (no head): the same two as global_patches_mean and strongest_column_mean, and global_cls_overlap, the
        IoU of these patches with as many that CLS attends to most (NaN where there are none, or no CLS).
    """
    frames = []
    for layer in choose_blocks(tokens, layers):
        full = attention(tokens, layer)
        maps, mean = between_patches(full, tokens.prefix), between_patches(full.mean(1), tokens.prefix)
        everyone = global_patches(mean)
        shared = torch.full((len(full),), torch.nan)
        if tokens.backbone.class_token:
            shared = overlap(everyone, top_patches(full.mean(1)[:, 0, tokens.prefix :], everyone.sum(-1)))
        size = maps.shape[-1]
        values = {
            "global_patches": global_patches(maps).sum(-1).float(),
            "strongest_column": maps.mean(-2).amax(-1) * size,
            "global_patches_mean": everyone.sum(-1).float(),
            "strongest_column_mean": mean.mean(-2).amax(-1) * size,
            "global_cls_overlap": shared,
        }
        frames += [tidy(name, value, layer, images) for name, value in values.items()]
    return join(frames)
