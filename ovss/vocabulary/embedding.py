"""Text embeddings of a vocabulary, cached on disk word by word, per weights and templates."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from ovss.backbone import Backbone
from ovss.backbone.finite import check_text
from ovss.errors import InputError
from ovss.files import EMPTY_SEAL, atomic_write, cache_dir, check_seal, digest, seal, sweep
from ovss.vocabulary.vocabulary import Vocabulary

_TEXTS = 256
"""Texts per pass of the text tower."""


def embed_vocabulary(backbone: Backbone, vocabulary: Vocabulary, *, progress: bool = False) -> Float[Tensor, "Q E"]:
    """Text embeddings of all queries: every template embedded, normalised, averaged, normalised.

    Each word stays in the cache folder (`$OVSS_CACHE`) per weights and templates, so that it is computed once, in
    whichever vocabulary it is. An entry carries the checksum of all its bytes; a damaged one is computed again.

    Args:
        backbone: The model.
        vocabulary: Words and templates.
        progress: Whether to show a progress bar while computing.

    Returns:
        Unit rows in float32, on the backbone's device.

    Raises:
        InputError: A query is too long for the model, texts do not fit the memory of the device, an embedding is not
            finite, or the cache folder cannot be written.
    """
    unknown = backbone.unknown_words(vocabulary.queries)
    if unknown:
        warnings.warn(
            f"{backbone.name} has never seen these words, so their embeddings mean nothing: {', '.join(unknown)}",
            UserWarning,
            stacklevel=2,
        )
    unique = tuple(dict.fromkeys(vocabulary.queries))
    identity = [backbone.name, backbone.pretrained, backbone.weights_hash, str(backbone.dtype), vocabulary.templates]
    folder = cache_dir() / "text"
    paths = {query: folder / f"{digest([*identity, query])}.safetensors" for query in unique}
    found = {query: row for query in unique if (row := _cached(paths[query], backbone.embed_dim)) is not None}
    missing = [query for query in unique if query not in found]
    if missing:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
    with tqdm(total=len(missing), desc="text embeddings", unit="word", disable=not (progress and missing)) as bar:
        for query in missing:
            found[query] = _embed(backbone, query, vocabulary.templates)
            _write(paths[query], found[query])
            bar.update()
    return torch.stack([found[query] for query in vocabulary.queries]).to(backbone.device)


def tensor_digest(rows: Tensor) -> str:
    """SHA-256 (64 hex digits) of a tensor's values and shape, in float32."""
    values = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()


@torch.inference_mode()
def _embed(backbone: Backbone, query: str, templates: Sequence[str]) -> Float[Tensor, " E"]:
    """One word in batches of its own, so that its bits do not depend on the words beside it."""
    texts = [template.replace("{}", query) for template in templates]
    try:
        parts = [backbone.encode_text(texts[i : i + _TEXTS]).float() for i in range(0, len(texts), _TEXTS)]
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{min(len(texts), _TEXTS)} texts at a time do not fit the memory of {backbone.device} with "
            f"{backbone.name}; try float16 or the CPU"
        ) from error
    row = F.normalize(F.normalize(torch.cat(parts), dim=-1).mean(dim=0), dim=-1).cpu()
    check_text(backbone, [query], texts[:1], row[None])
    return row


def _cached(path: Path, width: int) -> Float[Tensor, " E"] | None:
    """Row of an earlier call; None where there is none, or the file is damaged and must be computed again."""
    try:
        content = path.read_bytes()
        check_seal(content)
        # The name is the row's identity; an entry that lies under the name of another one is as wrong as a damaged one.
        if path.stem.encode() not in content:
            return None
        row = load(content).get("row")
    except (SafetensorError, OSError, ValueError):
        return None
    fits = row is not None and row.shape == (width,) and row.dtype == torch.float32 and bool(row.isfinite().all())
    return row if fits else None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say how to move a cache that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(
            f"text cache '{folder}' cannot be written ({reason}); set OVSS_CACHE to a folder that can"
        ) from error


def _write(path: Path, row: Tensor) -> None:
    content = seal(save({"row": row.clone()}, metadata={"identity": f"{path.stem} {EMPTY_SEAL}"}))
    with _writing(path.parent), atomic_write(path) as file:
        file.write(content)
