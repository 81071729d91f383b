"""Classes with their words: a data set's list, or a user's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ovss.errors import InputError, printable
from ovss.files import digest
from ovss.vocabulary.tables import list_vocabularies, read_table
from ovss.vocabulary.templates import TEMPLATE_SETS
from ovss.vocabulary.words import BACKGROUND, read_words

Words = str | Path | Sequence[str | Sequence[str]]


@dataclass(frozen=True)
class Vocabulary:
    """Classes and the words (queries) that stand for them.

    Attributes:
        classes: Names; their position is the class index. Background, where there is one, is called "background".
        queries: All words of all classes, class by class.
        query_class: Class index of each query.
        background: Class index of the background; None without one. It may have no query at all, under protocols that
            give it a constant score.
        templates: Sentences with one {} each, over which a query's embedding is averaged.
        name: Data set, file, or "words".
        variant: Which of a data set's lists; empty for a user's own words.

    Example:
        >>> from ovss import Vocabulary
        >>> Vocabulary(classes=("cat", "sofa"), queries=("cat", "sofa", "couch"), query_class=(0, 1, 1)).words
        (('cat',), ('sofa', 'couch'))
    """

    classes: tuple[str, ...]
    queries: tuple[str, ...]
    query_class: tuple[int, ...]
    background: int | None = None
    templates: tuple[str, ...] = field(default=TEMPLATE_SETS["openai"], repr=False)
    name: str = "words"
    variant: str = ""

    def __post_init__(self) -> None:
        if not self.queries:
            raise InputError(f"vocabulary '{self.name}' has no words; give at least one, as in 'cat; sofa, couch'")
        if len(self.queries) != len(self.query_class) or not set(self.query_class) <= set(range(len(self.classes))):
            raise InputError(f"vocabulary '{self.name}': query_class must give a class index for each query")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise InputError(f"vocabulary '{self.name}' names class '{twice[0]}' twice; class names must differ")
        wordless = sorted(set(range(len(self.classes))) - set(self.query_class) - {self.background})
        if wordless:
            raise InputError(f"vocabulary '{self.name}': class '{self.classes[wordless[0]]}' has no words")
        bad = [text for text in self.templates if text.count("{}") != 1]
        if bad or not self.templates:
            raise InputError(f"templates of vocabulary '{self.name}' must each contain one {{}}: {bad[:1]}")

    def __repr__(self) -> str:
        names = ", ".join(map(printable, self.classes[:6])) + (", ..." if len(self.classes) > 6 else "")
        variant = f" ({self.variant})" if self.variant else ""
        return f"Vocabulary({self.name}{variant}, {len(self.classes)} classes, {len(self.queries)} queries: {names})"

    def _repr_html_(self) -> str:
        from ovss.files.tables import html_table
        from ovss.images.colours import class_colours

        rows = [(name, "; ".join(words) or "(no word)") for name, words in zip(self.classes, self.words, strict=True)]
        colours = class_colours(len(self.classes)).tolist()
        return html_table(f"{len(self.templates)} templates", [("class", "words"), *rows], colours)

    @property
    def hash(self) -> str:
        """SHA-256 over names, words, order, background and templates; 64 hex digits."""
        return digest([self.classes, self.queries, self.query_class, self.background, self.templates])

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """Words of each class."""
        grouped: list[list[str]] = [[] for _ in self.classes]
        for query, number in zip(self.queries, self.query_class, strict=True):
            grouped[number].append(query)
        return tuple(map(tuple, grouped))

    def with_templates(self, templates: Iterable[str]) -> "Vocabulary":
        """The same words in other sentences."""
        return replace(self, templates=tuple(templates))

    def with_background(self, words: str | Sequence[str]) -> "Vocabulary":
        """The same classes behind a background, which becomes class 0.

        Args:
            words: Words of the background, as "wall, floor" or a list; an empty list: a background without words.

        Raises:
            InputError: There is a background already, or an empty word.
        """
        if self.background is not None:
            raise InputError("the classes have a background already; leave out background=")
        listed = [word.strip() for word in (words.split(",") if isinstance(words, str) else words)]
        if not all(listed):
            raise InputError(f"background={words!r} holds an empty word")
        return replace(
            self,
            classes=(BACKGROUND, *self.classes),
            queries=(*listed, *self.queries),
            query_class=(*([0] * len(listed)), *(owner + 1 for owner in self.query_class)),
            background=0,
        )

    def without_background_words(self) -> "Vocabulary":
        """The same classes, the background without any query, for rules that give it a constant score."""
        rest = [
            (query, owner)
            for query, owner in zip(self.queries, self.query_class, strict=True)
            if owner != self.background
        ]
        queries, owners = zip(*rest, strict=True) if rest else ((), ())
        return replace(self, queries=queries, query_class=owners)


def load_vocabulary(
    dataset_or_words: Words | Vocabulary, variant: str = "sclip", *, background: str | Sequence[str] | None = None
) -> Vocabulary:
    """A data set's class list, or a user's own words.

    Args:
        dataset_or_words: One of

            - a data set ("voc21", "ade150", "scenes", ...);
            - classes in one string: "cat; sofa, couch; background: wall, floor". Semicolons separate classes, commas
              the words of a class; words after "background:" become class 0;
            - a list of class names, each a string (taken as it is, commas included) or a list of synonyms;
            - a file: .toml or .json with `classes` (names or lists of synonyms) and optionally `background` (words of
              class 0), or .txt with one class per line, synonyms separated by commas.

            A class called just "background" is the background, where it stands.
        variant: Which of a data set's lists: "sclip", "proxyclip", "clearclip", "cliptrase", "plain" or "tcl".
        background: Words of a background class, which becomes class 0; for a user's own words only.

    Raises:
        InputError: Unknown data set or variant, no words, an empty word, a class twice, more than one background, a
            malformed file.

    Example:
        >>> from ovss import load_vocabulary
        >>> vocabulary = load_vocabulary("cat; sofa, couch; background: wall, floor")
        >>> vocabulary.classes
        ('background', 'cat', 'sofa')
        >>> vocabulary.queries
        ('wall', 'floor', 'cat', 'sofa', 'couch')
    """
    if isinstance(dataset_or_words, Vocabulary):
        if background is not None:
            raise InputError("background words go with a list of words, not with a finished vocabulary")
        return dataset_or_words
    if isinstance(dataset_or_words, str) and dataset_or_words.strip() in list_vocabularies():
        dataset = dataset_or_words.strip()
        if background is not None:
            raise InputError(f"data set '{dataset}' has its own background; give background words with words only")
        return _from_table(read_table(dataset, variant), dataset, variant)
    table, name = read_words(dataset_or_words, background)
    return replace(_from_table(table, name, ""), name=Path(name).name)


def _from_table(table: dict[str, Any], name: str, variant: str) -> Vocabulary:
    groups: list[tuple[str, list[str]]] = []
    if "background" in table:
        groups.append((BACKGROUND, _clean(table["background"], name)))
    for entry in table["classes"]:
        words = _clean([entry] if isinstance(entry, str) else entry, name)
        if not words:
            raise InputError(f"vocabulary '{name}' has a class without words")
        groups.append((words[0], words))
    classes = tuple(group[0] for group in groups)
    if classes.count(BACKGROUND) > 1:
        raise InputError(f"vocabulary '{name}' has more than one background; put all its words into one list")
    return Vocabulary(
        classes=classes,
        queries=tuple(word for _, words in groups for word in words),
        query_class=tuple(number for number, (_, words) in enumerate(groups) for _ in words),
        background=classes.index(BACKGROUND) if BACKGROUND in classes else None,
        name=name,
        variant=variant,
    )


def _clean(words: Any, name: str) -> list[str]:
    if not isinstance(words, list | tuple) or any(not isinstance(word, str) for word in words):
        raise InputError(f"vocabulary '{name}': a class must be a word or a list of words, not {words!r}")
    stripped = [word.strip() for word in words]
    if "" in stripped:
        raise InputError(f"vocabulary '{name}' has an empty word; look for a doubled or stray ',' or ';'")
    return stripped
