"""Text embeddings of a vocabulary, cached on disk per weights, words and templates."""

import hashlib
import os
import warnings
from collections.abc import Sequence
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

_TEXTS_PER_BATCH = 256


def embed_vocabulary(backbone: Backbone, vocabulary: Vocabulary, *, progress: bool = False) -> Float[Tensor, "Q E"]:
    """Text embeddings of all queries: every template embedded, normalised, averaged, normalised.

    They stay in the cache folder (`$OVSS_CACHE`) per weights, words and templates, so they are computed once. An entry
    carries the checksum of all its bytes; a damaged one is computed again.

    Args:
        backbone: The model.
        vocabulary: Words and templates.
        progress: Whether to show a progress bar while computing.

    Returns:
        Unit rows in float32, on the backbone's device.

    Raises:
        InputError: A query is too long for the model, an embedding is not finite, or the cache folder cannot be
            written.
    """
    unknown = backbone.unknown_words(vocabulary.queries)
    if unknown:
        warnings.warn(
            f"{backbone.name} has never seen these words, so their embeddings mean nothing: {', '.join(unknown)}",
            UserWarning,
            stacklevel=2,
        )
    unique = tuple(dict.fromkeys(vocabulary.queries))
    identity = [backbone.name, backbone.pretrained, backbone.weights_hash, str(backbone.dtype)]
    path = cache_dir() / "text" / f"{digest([*identity, vocabulary.templates, unique])}.safetensors"
    rows = _cached(path, (len(unique), backbone.embed_dim))
    if rows is None:
        rows = _embed(backbone, unique, vocabulary.templates, progress)
        _write(path, rows)
    order = torch.tensor([unique.index(query) for query in vocabulary.queries])
    return rows[order].to(backbone.device)


def tensor_digest(rows: Tensor) -> str:
    """SHA-256 (64 hex digits) of a tensor's values and shape, in float32."""
    values = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()


@torch.inference_mode()
def _embed(backbone: Backbone, queries: Sequence[str], templates: Sequence[str], progress: bool) -> Tensor:
    step = max(1, _TEXTS_PER_BATCH // len(templates))
    rows = []
    with tqdm(total=len(queries), desc="text embeddings", unit="word", disable=not progress) as bar:
        for start in range(0, len(queries), step):
            chunk = queries[start : start + step]
            texts = [template.replace("{}", query) for query in chunk for template in templates]
            embedded = F.normalize(backbone.encode_text(texts).float(), dim=-1)  # (queries * templates, E)
            mean = embedded.unflatten(0, (len(chunk), len(templates))).mean(dim=1)  # (queries, E)
            rows.append(F.normalize(mean, dim=-1).cpu())
            bar.update(len(chunk))
    table = torch.cat(rows)
    check_text(backbone, queries, [templates[0].replace("{}", query) for query in queries], table)
    return table


def _cached(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """Rows of an earlier call; None where there are none, or the file is damaged and must be computed again."""
    try:
        content = path.read_bytes()
        check_seal(content)
        # The name is the rows' identity; an entry that lies under the name of another one is as wrong as a damaged one.
        if path.stem.encode() not in content:
            return None
        rows = load(content).get("rows")
    except (SafetensorError, OSError, ValueError):
        return None
    fits = rows is not None and rows.shape == shape and rows.dtype == torch.float32 and bool(rows.isfinite().all())
    return rows if fits else None


def _write(path: Path, rows: Tensor) -> None:
    content = seal(save({"rows": rows.clone()}, metadata={"identity": f"{path.stem} {EMPTY_SEAL}"}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(
            f"text cache '{path.parent}' cannot be written ({reason}); set OVSS_CACHE to a folder that can"
        ) from error
