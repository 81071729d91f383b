"""The text tower: words into the joint space, and which words the embedded model has never seen."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ovss.backbone.tokenizers import count_tokens
from ovss.errors import InputError


def encode_text(backbone: Any, texts: Sequence[str], batch_size: int) -> Tensor:
    """Text embeddings (T, E), not normalised; see `Backbone.encode_text`."""
    tokenizer = backbone.tokenizer
    for text in texts:
        length = count_tokens(tokenizer, text)
        if length > tokenizer.context_length:
            raise InputError(
                f"text '{text[:60]}...' has {length} tokens; {backbone.name} reads {tokenizer.context_length}"
            )
    if not texts:
        return torch.empty(0, backbone.embed_dim, device=backbone.device, dtype=backbone.dtype)
    tokens = tokenizer(list(texts)).to(backbone.device)  # (T, context)
    order = (tokens != 0).sum(dim=1).argsort(stable=True)
    parts = [_encode(backbone.model, tokens[chosen]) for chosen in order.split(batch_size)]
    return torch.cat(parts)[order.argsort()]


def _encode(model: Any, tokens: Tensor) -> Tensor:
    """open_clip's text embedding, without the padding where attention is causal and so cannot see it."""
    tower = getattr(model, "text", model)  # some models keep their text tower apart
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    if not causal or pool not in ("argmax", "eos"):
        return model.encode_text(tokens)
    if pool == "argmax":
        end = tokens.argmax(dim=1)  # the end token has the highest number
    else:
        number = tower.eos_id if hasattr(tower, "eos_id") else tower.text_eos_id
        end = (tokens == number).int().argmax(dim=1)
    length = int(end.max()) + 1
    x = tower.token_embedding(tokens[:, :length]) + tower.positional_embedding[:length]  # (T, length, width)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    x = x[torch.arange(len(x), device=x.device), end]
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection


def unseen_words(backbone: Any, texts: Iterable[str]) -> list[str]:
    """Words with a token that never occurred in training, whose embedding is a zero vector."""
    unseen = ~backbone.model.token_embedding.weight.any(dim=1).cpu()
    words = dict.fromkeys(word for text in texts for word in text.split())
    return [word for word in words if unseen[torch.tensor(backbone.tokenizer.encode(word), dtype=torch.long)].any()]
