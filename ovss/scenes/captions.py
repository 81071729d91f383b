"""The caption grammar: what is there, in words, with synonyms, attributes and OpenAI's prompt templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ovss.scenes.objects import THINGS, VARIANTS_OF
from ovss.scenes.textures import STUFF
from ovss.vocabulary.templates import OPENAI

__all__ = ["SYNONYMS", "TEMPLATES", "describe", "known_words", "names"]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "ladybird": ("ladybug",),
    "lifebuoy": ("ring buoy",),
    "mushroom": ("toadstool",),
    "sand": ("beach",),
    "water": ("sea",),
    "brick": ("brick wall",),
    "wood": ("planks",),
    "stones": ("rocks",),
}
"""Other words for a class that captions use at random."""

TEMPLATES: tuple[str, ...] = OPENAI
_PLAIN: tuple[str, ...] = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "there is {}",
    "a scene with {}",
)

MOST_THINGS = 3
"""Captions name at most this many things, and then in a plain sentence, so that all fit the text tower's context."""


def names(label: int) -> tuple[str, ...]:
    """All words for a class id (0..21), the canonical one first."""
    name = (THINGS + STUFF)[label]
    return (name, *SYNONYMS.get(name, ()))


def _word(label: int, rng: np.random.Generator) -> str:
    canonical, *others = names(label)
    return canonical if not others or rng.random() < 0.6 else others[int(rng.integers(len(others)))]


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _listed(parts: Sequence[str], rng: np.random.Generator) -> str:
    if len(parts) < 3 or rng.random() < 0.3:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def describe(
    things: Sequence[tuple[int, str | None]],
    stuff: Sequence[int],
    night: bool,
    rng: np.random.Generator,
    *,
    name_thing: float = 0.95,
    name_stuff: float = 0.85,
) -> str:
    """A sentence about a scene.

    Args:
        things: (index into `THINGS`, colour word or None), at most one of each class.
        stuff: indices into `STUFF`.
        night: lighting.
        rng: source of every choice of words.
        name_thing: probability that a thing is mentioned.
        name_stuff: probability that a kind of stuff is mentioned.

    Returns:
        Lower-case text; at least one thing or kind of stuff is named, and nothing that is not there.
    """
    nouns = []
    for label, colour in (things[int(i)] for i in rng.permutation(len(things))):
        noun, mention = _word(label, rng), rng.random()
        usual = VARIANTS_OF.get(THINGS[label], (None,))[0]
        if colour is not None and mention < (0.3 if colour == usual else 0.75):
            noun = f"{colour} {noun}"
        if rng.random() < name_thing and len(nouns) < MOST_THINGS:
            nouns.append(noun)
    grounds = [_word(len(THINGS) + s, rng) for s in stuff if rng.random() < name_stuff]
    if not nouns and not grounds:
        if stuff:
            grounds = [_word(len(THINGS) + stuff[0], rng)]
        else:
            nouns = [_word(things[0][0], rng)]
    if rng.random() < 0.5:
        grounds.reverse()
    ground = " and ".join(grounds)
    long = len(nouns) == MOST_THINGS
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))] if rng.random() < 0.6 and not long else None
    first, *rest = nouns or [""]
    listed = _listed([first if template else _article(first), *map(_article, rest)], rng) if first else ""
    if listed and ground:
        joins = (f"{listed} on {ground}", f"{listed} in front of {ground}", f"{listed} and {ground}")
        text = joins[int(rng.integers(len(joins)))]
    else:
        text = listed or ground
    light = rng.random()
    if night and light < 0.7:
        text += " at night"
    elif not night and light < 0.1:
        text += " by day"
    if template is None:
        template = _PLAIN[int(rng.integers(len(_PLAIN)))]
    return template.format(text)


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Every word of the grammar; only these have trained token embeddings, all others are zero vectors."""
    texts = [*TEMPLATES, *_PLAIN, "a an and on in front of at night by day"]
    texts += [name for label in range(len(THINGS + STUFF)) for name in names(label)]
    texts += [colour for colours in VARIANTS_OF.values() for colour in colours]
    return frozenset(re.findall(r"[a-z]+", " ".join(texts).lower()))
