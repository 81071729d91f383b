"""Parts of an image tower that can be taken out, and how: what the rows of the causal atlas stand for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ovss.backbone import Backbone
from ovss.errors import InputError

__all__ = ["KINDS", "Part", "list_parts", "resolve_parts"]

KINDS = {"head": "heads", "attention": "attention", "ffn": "ffn"}
"""Kinds of parts that every block has, and the word that stands for all of them."""
_STATES = ("tokens", "channel")
_SETS = ("tokens", "neurons")
"""Kinds of parts that are named by several numbers."""
_HOW = ("zero", "mean", "swap")
_TEXT = re.compile(
    r"block (?P<block>\d+) (?:head (?P<head>\d+)|(?P<kind>attention|ffn)|channel (?P<channel>\d+)"
    r"|neurons (?P<neurons>\d+(?:,\d+)*)|tokens (?P<tokens>none|\d+(?:,\d+)*))(?: (?P<how>[a-z]+))?"
)


@dataclass(frozen=True)
class Part:
    """One part, and what is put in its place.

    Attributes:
        kind: "head": what one head mixes, before the output projection. "attention", "ffn": what a block adds to the
            residual stream by either. "neurons": activations within the FFN of a block. "tokens", "channel": rows or
            one column of a hidden state.
        block: Number of the block, from 1. For tokens and channels, of the hidden state: that after this block, 0 is
            the input of block 1.
        head: Number of the head, from 1.
        tokens: Numbers of the tokens, from 0, prefix tokens first; an empty set changes nothing.
        channel: Number of the channel, from 0.
        neurons: Numbers of the neurons, from 0.
        how: "zero". "mean": the mean over all images (and, of patches, over all patches; each prefix token has a mean
            of its own) in the untouched pass. "swap": what another image has there. Of a channel also "clip": cut to
            the size of the largest other channel of the same token.

    Raises:
        InputError: Words or numbers that do not go together.

    Example:
        >>> print(Part(kind="head", block=3, head=2, how="zero"))
        block 3 head 2 zero
        >>> Part.parse("block 5 channel 17 clip").channel
        17
    """

    kind: str
    block: int
    head: int | None = None
    tokens: tuple[int, ...] = ()
    channel: int | None = None
    neurons: tuple[int, ...] = ()
    how: str = "zero"

    def __post_init__(self) -> None:
        known = (*KINDS, "neurons", *_STATES)
        if self.kind not in known:
            raise InputError(f"part of kind '{self.kind}' is unknown; it is one of {', '.join(known)}")
        allowed = (*_HOW, "clip") if self.kind == "channel" else _HOW
        if self.how not in allowed:
            raise InputError(f"how='{self.how}' of a part of kind '{self.kind}' must be one of {', '.join(allowed)}")
        given = {"head": self.head is not None, "channel": self.channel is not None}
        given |= {name: bool(getattr(self, name)) for name in _SETS}
        for name, there in given.items():
            if there and name != self.kind:
                raise InputError(f"a part of kind '{self.kind}' has no {name}")
        if self.kind in ("head", "channel", "neurons") and not given[self.kind]:
            numbers = "numbers" if self.kind in _SETS else "number"
            raise InputError(f"a part of kind '{self.kind}' needs the {numbers} of its {self.kind}")

    @classmethod
    def parse(cls, text: str) -> "Part":
        """A part from the words that `str` makes of one; without the last word it is set to zero.

        Raises:
            InputError: The words are others.
        """
        found = _TEXT.fullmatch(" ".join(text.split()))
        if found is None:
            raise InputError(
                f"part '{text}' is not like 'block 3 head 2 zero', 'block 3 attention mean', 'block 3 ffn swap', "
                "'block 2 tokens 0,5 zero', 'block 4 neurons 7,9 zero' or 'block 5 channel 17 clip'"
            )
        head, channel = found["head"], found["channel"]
        sets = {name: found[name] for name in _SETS}
        return cls(
            kind=found["kind"] or next(name for name in ("head", "channel", *_SETS) if found[name]),
            block=int(found["block"]),
            head=int(head) if head else None,
            channel=int(channel) if channel else None,
            **{name: tuple(map(int, text.split(","))) for name, text in sets.items() if text and text != "none"},
            how=found["how"] or "zero",
        )

    def __str__(self) -> str:
        own = {"head": self.head, "channel": self.channel}
        own |= {name: ",".join(map(str, getattr(self, name))) or "none" for name in _SETS}
        return " ".join(["block", str(self.block), self.kind, *([str(own[self.kind])] if self.kind in own else [])]) + (
            f" {self.how}"
        )

    @property
    def of_state(self) -> bool:
        """Whether it is a part of a hidden state, not of a block."""
        return self.kind in _STATES

    @property
    def first_block(self) -> int:
        """First block that computes something else than in the untouched pass."""
        return self.block + 1 if self.of_state else self.block

    def check(self, backbone: Backbone) -> "Part":
        """Itself, where the model has it.

        Raises:
            InputError: It has not; names the number and its range.
        """
        lowest, highest = (0, backbone.depth - 1) if self.of_state else (1, backbone.depth)
        if not lowest <= self.block <= highest:
            what = "hidden states that a block reads" if self.of_state else "blocks"
            raise InputError(f"part '{self}': block {self.block} is outside {lowest}..{highest}, the {what}")
        if self.head is not None and not 1 <= self.head <= backbone.heads:
            raise InputError(f"part '{self}': head {self.head} is outside 1..{backbone.heads}, those of a block")
        if self.neurons and not backbone.ffn_width:
            raise InputError(
                f"part '{self}': neurons can be changed in open_clip's own ViT only, not in {backbone.name}"
            )
        for neuron in self.neurons:
            if not 0 <= neuron < backbone.ffn_width:
                raise InputError(f"part '{self}': neuron {neuron} is outside 0..{backbone.ffn_width - 1} of an FFN")
        if self.channel is not None and not 0 <= self.channel < backbone.width:
            raise InputError(f"part '{self}': channel {self.channel} is outside 0..{backbone.width - 1} of a state")
        return self


def list_parts(backbone: Backbone, kind: str = "head", how: str = "zero") -> list[Part]:
    """All heads of a model, or all attentions or FFNs of its blocks, first block first.

    Args:
        backbone: The model.
        kind: "head", "attention" or "ffn".
        how: See `Part`.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> len(list_parts(backbone)), str(list_parts(backbone, "ffn", "mean")[-1])
        (32, 'block 8 ffn mean')

    Raises:
        InputError: Another kind, or a word for `how` that is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"kind '{kind}' cannot be listed; it is one of {', '.join(KINDS)}")
    blocks = range(1, backbone.depth + 1)
    if kind == "head":
        return [Part(kind, block, head=head, how=how) for block in blocks for head in range(1, backbone.heads + 1)]
    return [Part(kind, block, how=how) for block in blocks]


Given = str | Part | Sequence[Part]


def resolve_parts(
    parts: str | Iterable[str | Part] | Mapping[str, Given], backbone: Backbone, how: str = "zero"
) -> dict[str, tuple[Part, ...]]:
    """Parts by their label; several parts under one label are changed together.

    Args:
        parts: See `ovss.analysis.causal.ablate`.
        backbone: The model, which must have them.
        how: For the words that stand for all parts of a kind.

    Raises:
        InputError: There is none, one is given twice, or the model does not have it.
    """
    if isinstance(parts, str):
        plurals = {plural: kind for kind, plural in KINDS.items()}
        parts = list_parts(backbone, plurals[parts], how) if parts in plurals else [parts]
    named: dict[str, tuple[Part, ...]]
    if isinstance(parts, Mapping):
        named = {str(label): _several(given) for label, given in parts.items()}
    else:
        found = [_several(given) for given in parts]
        named = {str(one[0]): one for one in found}
        if len(named) < len(found):
            raise InputError("a part is given twice")
    if not named:
        raise InputError("no part was given")
    for several in named.values():
        for part in several:
            part.check(backbone)
    return named


def _several(given: Given) -> tuple[Part, ...]:
    if isinstance(given, str):
        return (Part.parse(given),)
    return (given,) if isinstance(given, Part) else tuple(given)
