"""Strings to token ids, as each text tower was trained to read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from torch import Tensor

from ovss.errors import InputError, first_line


class StandInTokenizer:
    """Bytes as tokens, where a model has random weights and its own tokenizer is not on this machine.

    Args:
        vocabulary: Number of tokens that the model knows.
        context_length: Number of tokens that it reads.
    """

    def __init__(self, vocabulary: int, context_length: int) -> None:
        self.vocabulary = vocabulary
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        """Bytes of the text; 0 stands for no token, 1 for its end."""
        return [2 + byte % (self.vocabulary - 2) for byte in text.encode()][: self.context_length - 2]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids (T, context)."""
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [*self.encode(text), 1]
            row[: len(ids)] = torch.tensor(ids)
        return rows


def load_tokenizer(architecture: str, model: Any, random: bool, file: Path | None = None) -> Any:
    """The tokenizer of an architecture.

    Those of the hub are read from the folder of the checkpoint file where it holds a `tokenizer.json`, else from the
    hub or its cache.

    Args:
        architecture: Its name in open_clip.
        model: The model, for its numbers of tokens.
        random: Whether its weights are random, for which bytes will do where the tokenizer is not at hand.
        file: Where its weights were read from.

    Raises:
        InputError: The tokenizer is not on this machine; says what to fetch.
    """
    config, hub = text_settings(architecture), hub_tokenizer(architecture)
    if not hub:
        return open_clip.get_tokenizer(architecture)
    try:
        if file is not None and (file.parent / "tokenizer.json").is_file():
            options = {"context_length": model.context_length, "tokenizer_mode": config.get("tokenizer_mode")}
            return HFTokenizer(str(file.parent), **options, **config.get("tokenizer_kwargs", {}))
        return open_clip.get_tokenizer(architecture)
    except Exception as error:
        if random:
            return StandInTokenizer(model.vocab_size, model.context_length)
        missing = isinstance(error, ImportError)
        advice = (
            "install transformers (pip install 'ovss[text]')"
            if missing
            else f"fetch tokenizer.json and tokenizer_config.json of {hub} and put them beside the checkpoint file"
        )
        raise InputError(f"the tokenizer of {architecture} cannot be read ({first_line(error)}); {advice}") from error


def hub_tokenizer(architecture: str) -> str:
    """Repository of the hub that the tokenizer of an architecture comes from; empty where open_clip brings it along."""
    return text_settings(architecture).get("hf_tokenizer_name") or ""


def text_settings(architecture: str) -> dict[str, Any]:
    """What the configuration of an architecture says of its text tower; empty where there is no such configuration."""
    return (open_clip.get_model_config(architecture) or {}).get("text_cfg", {})


def count_tokens(tokenizer: Any, text: str) -> int:
    """Number of tokens of a text with those that mark its beginning and end, before anything is cut off."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(tokenizer.clean_fn(text)).input_ids)
