"""What belongs together: coherence of patch similarities, attention within a class, contaminated values."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ovss.analysis.attention import attention, between_patches, mass_within
from ovss.analysis.frames import check_truth, choose_blocks, choose_states, join, tidy
from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import VOID, coherence_auc, cosine_map, denoise, gaussian_window, self_correlation
from ovss.methods.base import unit


@torch.inference_mode()
def coherence(
    tokens: Tokens,
    truth: np.ndarray,
    layers: Iterable[int] | None = None,
    *,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Coherence AUC of the patches' cosines, per hidden state (SC-CLIP, Sec. 3.3; CLIPSeg, AAAI 2025).

    Args:
        tokens: One backbone pass.
        truth: Class of each patch (B, h, w), see `patch_labels`.
        layers: Hidden states 0..L; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame of the measure coherence_auc.
    """
    labels = check_truth(tokens, truth)
    frames = []
    for layer in choose_states(tokens, layers):
        maps = cosine_map(tokens.patches(layer)).cpu().numpy()
        values = [coherence_auc(one, label) for one, label in zip(maps, labels, strict=True)]
        frames.append(tidy("coherence_auc", torch.tensor(values), layer, images))
    return join(frames)


@torch.inference_mode()
def self_correlation_statistics(
    tokens: Tokens,
    truth: np.ndarray,
    layers: Iterable[int] | None = None,
    *,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Does self-correlation know the classes, before and after CLS's row is subtracted?

    Args:
        tokens: One backbone pass.
        truth: Class of each patch (B, h, w).
        layers: Blocks; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame of the measures self_correlation_auc, self_correlation_auc_without_cls (of the symmetric part), and
        clamped, the share of entries that the clamp sets to 0; the last two where the model has a class token.
    """
    labels = check_truth(tokens, truth)
    frames = []
    for layer in choose_blocks(tokens, layers):
        raw = self_correlation(tokens.qkv(layer))
        pairs, cut = {"self_correlation_auc": raw[:, tokens.prefix :, tokens.prefix :]}, None
        if tokens.backbone.class_token:
            cut = denoise(raw, prefix=tokens.prefix)
            pairs["self_correlation_auc_without_cls"] = (cut + cut.mT) / 2
        for name, maps in pairs.items():
            values = [coherence_auc(one, label) for one, label in zip(maps.cpu().numpy(), labels, strict=True)]
            frames.append(tidy(name, torch.tensor(values), layer, images))
        if cut is not None:
            frames.append(tidy("clamped", (cut == 0).float().mean((1, 2)), layer, images))
    return join(frames)


def in_class_mass(maps: Float[Tensor, "B H N N"], labels: np.ndarray) -> Float[Tensor, "B H N"]:
    """Share of each patch's attention that falls on patches of its own class; NaN for void patches.

    Args:
        maps: Attention among patches, rows summing to 1.
        labels: Class of each patch (B, N).
    """
    classes = torch.from_numpy(np.asarray(labels)).to(maps.device)
    same = (classes[:, :, None] == classes[:, None, :]).to(maps)  # (B, N, N)
    mass = (maps * same[:, None]).sum(-1)
    return mass.masked_fill((classes == VOID)[:, None], float("nan"))


@torch.inference_mode()
def in_class_statistics(
    tokens: Tokens,
    truth: np.ndarray,
    layers: Iterable[int] | None = None,
    *,
    pair: str = "qk",
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Attention within a class, per block and head.

    Args:
        tokens: One backbone pass.
        truth: Class of each patch (B, h, w).
        layers: Blocks; None takes all.
        pair: See `attention`.
        images: Names of the images.

    Returns:
        Tidy frame, with a column class (missing for the mean over all patches of an image), of the measures
        in_class_mass (per head) and in_class_chance (no head), which uniform attention would have.
    """
    labels = check_truth(tokens, truth)
    frames = []
    size = labels.shape[1]
    uniform = torch.full((len(labels), 1, size, size), 1 / size)
    for layer in choose_blocks(tokens, layers):
        maps = between_patches(attention(tokens, layer, pair), tokens.prefix)
        for name, mass in (
            ("in_class_mass", in_class_mass(maps, labels)),
            ("in_class_chance", in_class_mass(uniform, labels)),
        ):
            reduced = mass if name == "in_class_mass" else mass[:, 0]
            frames.append(tidy(name, reduced.nanmean(-1), layer, images).assign(**{"class": pd.NA}))
            for number in np.unique(labels[labels != VOID]):
                member = torch.from_numpy(labels == number).to(mass.device)
                chosen = mass.masked_fill(~member[:, None], float("nan"))
                chosen = (chosen if name == "in_class_mass" else chosen[:, 0]).nanmean(-1)
                frame = tidy(name, chosen, layer, images).assign(**{"class": int(number)})
                frames.append(frame.dropna(subset="value"))
    return join(frames).astype({"class": "Int64"})


@torch.inference_mode()
def value_contamination(
    tokens: Tokens,
    truth: np.ndarray,
    text: Float[Tensor, "C E"],
    layers: Iterable[int] | None = None,
    *,
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Do values speak of the image's dominant class instead of their own patch's? (CLIPSeg, AAAI 2025)

    Values of a block are merged, read out and compared with the text of two classes, over patches whose class is not
    the dominant one.

    Args:
        tokens: One backbone pass.
        truth: Class of each patch (B, h, w).
        text: Unit text embedding of each class, row = class index.
        layers: Blocks; None takes all.
        images: Names of the images.

    Returns:
        Tidy frame (of all heads together, because the read-out is not linear) of the measures value_own and
        value_dominant (cosines), value_contamination (dominant minus own) and value_misled (share of patches nearer to
        the dominant class); NaN for an image of one class.
    """
    labels = check_truth(tokens, truth)
    if labels.max() >= len(text):
        raise InputError(f"text has {len(text)} classes, but the patch labels reach {labels.max()}")
    dominant = np.array([np.bincount(row[row != VOID], minlength=1).argmax() for row in labels])
    other = torch.from_numpy((labels != VOID) & (labels != dominant[:, None]))  # (B, N)
    own_index = torch.from_numpy(np.where(labels == VOID, 0, labels))
    frames = []
    for layer in choose_blocks(tokens, layers):
        block, (_, _, v) = tokens.block(layer), tokens.qkv(layer)
        cosines = (
            unit(tokens.read_out(block.merge(v)))[:, tokens.prefix :] @ text.to(v.device, torch.float32).T
        ).cpu()  # (B, N, C)
        own = cosines.gather(-1, own_index[..., None])[..., 0]
        strong = cosines.gather(-1, torch.from_numpy(dominant)[:, None, None].expand(-1, own.shape[1], 1))[..., 0]
        values = {
            "value_own": own,
            "value_dominant": strong,
            "value_contamination": strong - own,
            "value_misled": (strong > own).float(),
        }
        for name, value in values.items():
            mean = value.masked_fill(~other, float("nan")).nanmean(-1)
            frames.append(tidy(name, mean, layer, images))
    return join(frames)


@torch.inference_mode()
def neighbourhood(
    tokens: Tokens,
    sigmas: Iterable[float],
    *,
    radii: Iterable[float] = (1.5, 3.0),
    pair: str = "kk",
    images: Sequence[object] | None = None,
) -> pd.DataFrame:
    """What NACLIP's Omega does to the rows of the last block: attention near the patch, per sigma.

    Args:
        tokens: One backbone pass.
        sigmas: Standard deviations in patches; infinity adds 1 to all logits among patches and prefers none.
        radii: In patches.
        pair: See `attention`.
        images: Names of the images.

    Returns:
        Tidy frame with a column sigma, of the measures mass_within_R per head.
    """
    layer = tokens.depth
    q, k, v = (part.float() for part in tokens.qkv(layer))
    parts = {"q": q, "k": k, "v": v}
    logits = parts[pair[0]] * q.shape[-1] ** -0.5 @ parts[pair[1]].mT  # (B, heads, T, T)
    frames = []
    for sigma in sigmas:
        window = gaussian_window(tokens.grid, sigma, logits.device, tokens.prefix)
        maps = between_patches(torch.softmax(logits + window, dim=-1), tokens.prefix)
        for radius in radii:
            near = mass_within(maps, tokens.grid, radius).mean(-1)
            frames.append(tidy(f"mass_within_{radius:g}", near, layer, images).assign(sigma=float(sigma)))
    return join(frames)
