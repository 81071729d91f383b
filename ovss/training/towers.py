"""The two towers as they are trained: some of the patches only, captions cut to the longest, a small token table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from ovss.backbone import Backbone
from ovss.backbone.names import register_tiny
from ovss.files import atomic_write
from ovss.training.data import Batch, CaptionTokens

_FIRST_MIDDLE = 3
"""First of the middle blocks, which the last but one ends."""


def _create_silently() -> nn.Module:
    """An `ovss-tiny` with random weights, without open_clip's warning that they are random."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        return open_clip.create_model(register_tiny())
    finally:
        logging.root.setLevel(level)


class Trainee(nn.Module):
    """An open_clip model whose token table holds only the tokens that captions can contain.

    Args:
        seed: initial weights.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.clip: Any = _create_silently()
        self.tokens = CaptionTokens(open_clip.get_tokenizer(register_tiny()))
        table = self.clip.token_embedding.weight.detach()
        self.vocabulary_size = len(table)
        small = nn.Embedding(len(self.tokens.ids), table.shape[1])
        with torch.no_grad():
            small.weight.copy_(table[self.tokens.ids])
            small.weight[0] = 0
        self.clip.token_embedding = small

    def take(self, weights: Path, kept: int) -> None:
        """Begin with the weights of a finished run.

        Args:
            weights: What `export` wrote.
            kept: Blocks of the vision tower, from the first on, that are taken; those after them stay as they are.
        """
        state = {name: value.float() for name, value in load_file(weights).items()}
        state["token_embedding.weight"] = state["token_embedding.weight"][self.tokens.ids]
        own = self.clip.state_dict()
        fresh = tuple(f"visual.transformer.resblocks.{layer}." for layer in range(kept, len(self._blocks)))
        self.clip.load_state_dict(state | {name: own[name] for name in own if name.startswith(fresh)}, strict=False)

    @property
    def _blocks(self) -> Any:
        return self.clip.visual.transformer.resblocks

    def encode_views(self, images: Tensor, keep: Tensor | None, waiting: int = 0) -> Tensor:
        """Image embeddings, not normalised.

        Args:
            images: (B, 3, side, side), normalised.
            keep: Positions (B, n) of the patches that are shown, or None for all.
            waiting: CLS keeps its first state in this many blocks from the first on, less than the depth.

        Returns:
            (B, E).
        """
        return self._encode(images, keep, waiting)[0]

    def _encode(self, images: Tensor, keep: Tensor | None, waiting: int) -> tuple[Tensor, Tensor, Tensor]:
        """What `encode_views` returns, and two mean cosines in the middle blocks: of patches of a view, and of CLS.

        The squared length of a mean of unit vectors is their mean cosine.
        """
        visual = self.clip.visual
        x = visual.conv1(images).flatten(2).transpose(1, 2) + visual.positional_embedding[1:]  # (B, N, D)
        if keep is not None:
            x = torch.gather(x, 1, keep.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        cls = (visual.class_embedding + visual.positional_embedding[0]).expand(len(x), 1, -1)
        x = visual.ln_pre(torch.cat([cls, x], 1))
        cls = x[:, :1]
        blocks, patches, views = self._blocks, [], []
        for number, block in enumerate(blocks, start=1):
            x = block(x)
            if number <= waiting:
                x = torch.cat([cls, x[:, 1:]], 1)
            if _FIRST_MIDDLE <= number < len(blocks):
                unit = F.normalize(x, dim=-1)
                patches.append(unit[:, 1:].mean(1).square().sum(-1).mean())
                views.append(unit[:, 0].mean(0).square().sum())
        return visual.ln_post(x[:, 0]) @ visual.proj, torch.stack(patches).mean(), torch.stack(views).mean()

    def encode_captions(self, captions: list[str]) -> Tensor:
        """(B, E) text embeddings, not normalised."""
        clip = self.clip
        ids, ends = self.tokens(captions)
        length = ids.shape[1]
        x = clip.token_embedding(ids) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), ends] @ clip.text_projection

    def loss(self, batch: Batch, spread: float = 0.0, quiet: float = 0.0) -> tuple[Tensor, float]:
        """CLIP's symmetric contrastive loss (Radford et al. 2021) and the share of images whose caption wins.

        Pairs that show the same are left out of the negatives.

        Args:
            batch: Views and captions.
            spread: Weight of the mean cosine between patches of a view, see `Recipe`.
            quiet: Weight of 1 minus the mean cosine between the CLS of the batch, see `Recipe`.
        """
        embedding, patches, views = self._encode(batch.images, batch.keep, batch.waiting)
        image = F.normalize(embedding, dim=-1)
        text = F.normalize(self.encode_captions(batch.captions), dim=-1)
        logits = (self.clip.logit_scale.exp() * image @ text.T).masked_fill(batch.same, -100.0)
        target = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss = loss + spread * patches + quiet * (1 - views)
        return loss, float((logits.argmax(1) == target).float().mean())

    def full_state(self) -> dict[str, Tensor]:
        """The standard open_clip state dict, float16; rows of tokens that no caption contains are zero."""
        state = {name: value.detach() for name, value in self.clip.state_dict().items()}
        small = state["token_embedding.weight"]
        table = torch.zeros(self.vocabulary_size, small.shape[1])
        table[self.tokens.ids] = small
        table[0] = 0
        return {name: value.half().contiguous() for name, value in (state | {"token_embedding.weight": table}).items()}

    def backbone(self) -> Backbone:
        """The model so far as the library sees it, a copy in float32 of what `export` would write."""
        whole: Any = _create_silently()
        whole.load_state_dict({name: value.float() for name, value in self.full_state().items()})
        return Backbone(
            whole,
            name="tiny",
            pretrained="in training",
            tokenizer=open_clip.get_tokenizer(register_tiny()),
            mean=open_clip.OPENAI_DATASET_MEAN,
            std=open_clip.OPENAI_DATASET_STD,
        )

    def export(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the weights as safetensors that `open_clip.create_model('ovss-tiny', pretrained=path)` loads."""
        with atomic_write(path) as file:
            file.write(safetensors_bytes(self.full_state(), metadata))
