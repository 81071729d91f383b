"""Solutions of notebook 09. Each function states its exercise, returns the answer and asserts what must hold."""

from dataclasses import dataclass

import torch

import ovss
from ovss.ingredients import cosine_map, similarity_attention
from ovss.testing import check_method

IMAGES = 10
PAPER = ovss.Paper(title="Friends of the middle block", authors="You", venue="notebook 09", arxiv="")


@dataclass(frozen=True)
class Friends(ovss.Method):
    """The method of the notebook."""

    name = "friends"
    paper = PAPER
    patches_only = True
    share: float = ovss.parameter(0.5, "where the middle lies, as a share of the depth", "our choice", "(0, 1)")

    def block(self, depth: int) -> int:
        """The middle block at a depth."""
        return max(1, round(self.share * depth))

    def layers(self, depth: int) -> frozenset[int]:
        """States after the middle block and in front of the last one."""
        return frozenset({self.block(depth), depth - 1})

    def mix(self, tokens, values=None):
        """Values averaged over the patches that are alike in the middle."""
        values = tokens.qkv(tokens.depth)[2][:, :, 1:] if values is None else values
        similarity = cosine_map(tokens.hidden(self.block(tokens.depth))[:, 1:])
        return similarity_attention(similarity, 10.0)[:, None] @ values


def exercise_1() -> dict[str, tuple[float, float, float]]:
    """Share of the depth -> paired difference with the default and its interval."""
    methods = {"default": Friends(), **{f"{share}": Friends(share=share) for share in (0.15, 0.3, 0.7, 0.9)}}
    evaluation = ovss.evaluate(ovss.load_backbone(), methods, ovss.load_dataset("scenes", split="test"), limit=IMAGES)
    found = {}
    for label in list(methods)[1:]:
        row = evaluation.compare("default", label).iloc[0]
        found[label] = (float(row["difference"]), float(row["low"]), float(row["high"]))
    assert len(found) == 4
    return found


@dataclass(frozen=True)
class Whole(Friends):
    """With residual and FFN, which the base class reads from two fields; CLS is dropped from the residual, too."""

    residual: bool = ovss.parameter(True, "keep the residual of the last block", "exercise")
    ffn: bool = ovss.parameter(True, "keep the FFN of the last block", "exercise")

    def stream(self, tokens):
        """The last block; without CLS, as the attention is."""
        y = tokens.block(tokens.depth).merge(self.mix(tokens))
        y = y + tokens.hidden(tokens.depth - 1)[:, 1:] if self.residual else y
        return y + tokens.block(tokens.depth).ffn(y) if self.ffn else y


def exercise_2() -> float:
    """What keeping residual and FFN costs in pixel accuracy: they bring back what plain CLIP suffers from."""
    evaluation = ovss.evaluate(
        ovss.load_backbone(),
        {"reduced": Friends(), "whole": Whole()},
        ovss.load_dataset("scenes", split="test"),
        limit=IMAGES,
    )
    pacc = evaluation.summary(provenance=False).set_index("method")["pAcc"]
    return float(pacc["whole"] - pacc["reduced"])


@dataclass(frozen=True)
class Row(ovss.Method):
    """Each patch averages the values of its own row of the grid."""

    name = "row"
    paper = PAPER
    patches_only = True

    def mix(self, tokens, values=None):
        """Values averaged over rows."""
        values = tokens.qkv(tokens.depth)[2][:, :, 1:] if values is None else values
        rows = torch.arange(tokens.grid[0]).repeat_interleave(tokens.grid[1])
        same = (rows[:, None] == rows).to(values)
        return same / same.sum(-1, keepdim=True) @ values


def exercise_3() -> tuple[str, ...]:
    """It passes, for it keeps rows and columns of the grid apart."""
    held = check_method(Row)
    assert len(held) == 8
    return held
