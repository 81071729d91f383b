"""`ovss list vocabularies [NAME]`: which words stand for which classes."""

import argparse
from typing import TYPE_CHECKING, Any

from ovss.cli.common import described, show
from ovss.files.tables import text_table
from ovss.vocabulary.tables import describe_vocabulary, list_variants, list_vocabularies, read_table

if TYPE_CHECKING:
    from ovss.vocabulary import Vocabulary

__all__ = ["add_command", "variant_rows", "word_rows"]


def add_command(commands: Any) -> None:
    """Add `vocabularies`."""
    parser = commands.add_parser("vocabularies", **described("list the class vocabularies, or show one"))
    parser.add_argument(
        "dataset", nargs="?", metavar="NAME", help="a data set, a class file, or words as in 'cat; sofa, couch'"
    )
    parser.add_argument("--variant", help="one variant's classes with their words")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the list, a data set's variants, or one vocabulary; returns 0."""
    if arguments.dataset is None:
        rows = [("data set", "variants", "")]
        rows += [(n, " ".join(list_variants(n)), describe_vocabulary(n)) for n in list_vocabularies()]
        show(text_table(rows))
    elif arguments.variant is None and arguments.dataset in list_vocabularies():
        show(_variants_as_text(arguments.dataset))
    else:
        show(_words_as_text(arguments.dataset, arguments.variant or "sclip"))
    return 0


def _variants_as_text(dataset: str) -> str:
    """A line per variant of a data set's class list."""
    return f"{dataset}: {describe_vocabulary(dataset)}\n\n{text_table(variant_rows(dataset))}"


def variant_rows(dataset: str) -> list[tuple[str, ...]]:
    """The same as rows, the head first."""
    from ovss.vocabulary import load_vocabulary

    rows: list[tuple[str, ...]] = [("variant", "classes", "words", "background words", "hash", "")]
    for variant in list_variants(dataset):
        vocabulary = load_vocabulary(dataset, variant)
        background = "no such class" if vocabulary.background is None else len(vocabulary.words[vocabulary.background])
        counts = (str(len(vocabulary.classes)), str(len(vocabulary.queries)), str(background))
        rows.append((variant, *counts, vocabulary.hash[:12], read_table(dataset, variant)["note"]))
    return rows


def _words_as_text(dataset: str, variant: str) -> str:
    """A line per class of one vocabulary."""
    from ovss.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(dataset, variant)
    title = " ".join(filter(None, (vocabulary.name, vocabulary.variant)))
    counts = f"{len(vocabulary.classes)} classes, {len(vocabulary.queries)} words"
    head = f"{title}: {counts}, hash {vocabulary.hash}"
    return f"{head}\n\n{text_table(word_rows(vocabulary))}"


def word_rows(vocabulary: "Vocabulary") -> list[tuple[str, str, str]]:
    """Number, name and words of each class; no words where they are the name."""
    rows = []
    for number, (name, texts) in enumerate(zip(vocabulary.classes, vocabulary.words, strict=True)):
        shown = "" if texts == (name,) else "; ".join(texts) or "(no words)"
        rows.append((str(number), name, shown))
    return rows
