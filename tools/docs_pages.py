"""Pages of the documentation that are made from the package: `docs/conf.py` has them written before each build.

Methods from their classes, protocols, data sets and vocabularies from their files, the numbers of the model card from
the record of its training, walkthroughs from their notebooks. Nothing is typed here that stands elsewhere.
"""

import inspect
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from docs_methods import REPORT, ROOT, method_page, methods_index
from docs_text import escaped, file_of_the_tree, folded, table, toctree, with_links

from ovss import tiny
from ovss.cli.protocols import change_rows, field_rows, overview_rows
from ovss.cli.vocabularies import variant_rows, word_rows
from ovss.datasets import BENCHMARKS, OTHER_NAMES
from ovss.datasets.base import class_names
from ovss.datasets.layouts import GUIDES
from ovss.files.tables import text_table
from ovss.methods import list_methods, method_class
from ovss.protocols import list_protocols, load_protocol
from ovss.scenes.scenes import VARIANTS
from ovss.vocabulary import load_vocabulary
from ovss.vocabulary.tables import describe_vocabulary, list_variants, list_vocabularies

__all__ = ["REPORT", "pages", "walkthrough_page", "write_pages"]

ROOMS = (
    *("backbone", "methods", "ingredients", "protocols", "vocabulary", "segment", "datasets", "metrics"),
    *("evaluation", "analysis", "figures", "ledger", "lab.testing", "errors"),
)
"""Modules with a page in the reference; each lists what it offers in `__all__`."""
WALKTHROUGHS = "[01][0-9]_*.ipynb"


def pages(repository: str = "") -> dict[str, str]:
    """All generated pages, by their paths.

    Args:
        repository: "owner/name" on GitHub, for the links that open a walkthrough elsewhere; empty leaves them out.
    """
    walkthroughs = {path.stem: notebook for path, notebook in _walkthroughs()}
    names = list_methods()
    return {
        "methods/index.md": methods_index(names),
        **{f"methods/{name}.md": method_page(method_class(name), walkthroughs) for name in names},
        "protocols.md": _protocols_page(),
        "datasets.md": _datasets_page(),
        "vocabularies.md": _vocabularies_page(),
        **{f"vocabularies/{name}.md": _vocabulary_page(name) for name in list_vocabularies()},
        "walkthroughs/index.md": _walkthroughs_index(walkthroughs),
        **{
            f"walkthroughs/{stem}.ipynb": walkthrough_page(stem, walkthroughs[stem], repository)
            for stem in walkthroughs
        },
        "walkthroughs/solutions.md": _solutions_page(),
        "api/index.md": _api_index(),
        **{f"api/{room}.md": _api_page(room) for room in ROOMS},
        "parts/tiny.md": _tiny_numbers(),
    }


def write_pages(folder: Path, repository: str = "") -> list[Path]:
    """Write the generated pages; files that did not change keep their time, those of no page any more are removed.

    Args:
        folder: Where they go; nothing else lies there.
        repository: See `pages`.

    Returns:
        The files that changed.
    """
    wanted = {folder / name: text for name, text in pages(repository).items()}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    changed = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    return changed


def _protocols_page() -> str:
    protocols = [load_protocol(name) for name in list_protocols()]
    parts = ["# Protocols\n\nEvery number is made under a protocol; its hash covers all that is listed here.\n"]
    parts.append(table(overview_rows(protocols)))
    for protocol in protocols:
        parts.append(f"## {protocol.name}\n\n{escaped(protocol.description)}\n\nHash `{protocol.hash}`.\n")
        changes = change_rows(protocol)
        if changes:
            parts.append(table([("for", "changes"), *changes]))
        parts.append(folded("All fields", table([("field", "value"), *field_rows(protocol)])))
    return "\n".join(parts)


def _datasets_page() -> str:
    rows = [("name", "classes", "splits", "validation images", "as its authors distribute it", "source")]
    for name, benchmark in BENCHMARKS.items():
        guide, counts = GUIDES[name], " or ".join(map(str, benchmark.counts))
        splits = ", ".join(benchmark.splits)
        rows.append((name, str(len(class_names(name))), splits, counts, guide.original, guide.source))
    others = "".join(
        f"- `{name}`: `{base}` with " + ", ".join(f"`{key}={value}`" for key, value in options.items()) + "\n"
        for name, (base, options) in OTHER_NAMES.items()
    )
    drawn = "".join(f"- `{name}`: {style.size[0]} x {style.size[1]} pixels\n" for name, style in VARIANTS.items())
    head = "`ovss list datasets` says which of them are on this machine; [real benchmarks](../howto/benchmarks.md) how."
    return (
        f"# Data sets\n\n{head}\n\n{table(rows)}\nUnder other names:\n\n{others}\n"
        f"Generated, with exact masks ([card](../tiny.md)):\n\n{drawn}\n"
        "`folder` is a [data set of your own](../howto/dataset.md).\n"
    )


def _vocabularies_page() -> str:
    rows = [("data set", "variants", "")]
    rows += [(name, " ".join(list_variants(name)), describe_vocabulary(name)) for name in list_vocabularies()]
    listed = with_links(table(rows), {name: f"vocabularies/{name}.md" for name in list_vocabularies()})
    text = "Papers use different words for the classes of one data set, and a protocol says which (its field `names`)."
    tree = toctree((f"vocabularies/{name}" for name in list_vocabularies()), ":hidden:")
    return f"# Vocabularies\n\n{text}\n\n{listed}\n{tree}"


def _vocabulary_page(name: str) -> str:
    parts = [f"# {escaped(name)}\n\n{escaped(describe_vocabulary(name))}.\n", table(variant_rows(name))]
    for variant in list_variants(name):
        vocabulary = load_vocabulary(name, variant)
        words = f"```text\n{text_table(word_rows(vocabulary))}\n```"  # as a table, 847 classes take seconds to lay out
        parts.append(
            folded(f"{variant}: {len(vocabulary.queries)} words, where they are not the name of the class", words)
        )
    return "\n".join(parts)


def _walkthroughs() -> list[tuple[Path, Any]]:
    paths = sorted((ROOT / "notebooks").glob(WALKTHROUGHS))
    return [(path, nbformat.read(path, as_version=4)) for path in paths]


def _walkthroughs_index(walkthroughs: Mapping[str, Any]) -> str:
    text = (
        "Shown as they were executed on the embedded model. `ovss notebooks` copies them, `jupyter lab` opens them, "
        "and with other parameters they run on real CLIP. Each ends with questions and exercises, which have "
        "[solutions](solutions.md)."
    )
    return f"# Walkthroughs\n\n{text}\n\n{toctree([*walkthroughs, 'solutions'], ':maxdepth: 1')}"


def walkthrough_page(stem: str, notebook: Any, repository: str) -> str:
    """A walkthrough as the site shows it: with links that open it elsewhere, below its title."""
    if repository:
        colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{stem}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{repository}/main?labpath={quote(f'notebooks/{stem}.ipynb')}"
        install = f"`%pip install git+https://github.com/{repository}`"
        text = f"Open in [Colab]({colab}) (first run {install} there) or on [Binder]({binder})."
        cell = nbformat.v4.new_markdown_cell(text, id="elsewhere")
        notebook = nbformat.from_dict({**notebook, "cells": [notebook.cells[0], cell, *notebook.cells[1:]]})
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _solutions_page() -> str:
    parts = ["# Solutions\n\nTry first. Each file holds its tests, too, and runs as it is.\n"]
    for path in sorted((ROOT / "notebooks" / "solutions").glob("*.py")):
        code = file_of_the_tree(path.relative_to(ROOT).as_posix())
        parts.append(f"## {escaped(path.stem)}\n\n{folded('Show', code)}")
    return "\n".join(parts)


def _api_index() -> str:
    import ovss

    rows = [("name", "stands in")]
    for name in sorted(ovss.__all__):
        thing = getattr(ovss, name)
        home = thing.__name__ if inspect.ismodule(thing) else ".".join(thing.__module__.split(".")[:2])
        rows.append((f"`ovss.{name}`", f"`{home}`"))
    text = "What `import ovss` offers, and the rooms behind it. Examples in docstrings are run by the tests."
    return f"# Reference\n\n{text}\n\n{table(rows)}\n{toctree(ROOMS, ':maxdepth: 1')}"


def _api_page(room: str) -> str:
    """What a room offers, by name; constants are left to the source."""
    module = import_module(f"ovss.{room}")
    lines = [f".. automodule:: ovss.{room}\n   :no-members:\n"]
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            lines.append(f".. autoclass:: ovss.{room}.{name}\n   :members:\n   :member-order: bysource\n")
        elif inspect.isfunction(thing):
            lines.append(f".. autofunction:: ovss.{room}.{name}\n")
    text = "\n".join(lines)
    return f"# ovss.{room}\n\n```{{eval-rst}}\n{text}```\n"


def _tiny_numbers() -> str:
    """What the record of the training says: the part of the model card that is numbers."""
    record = json.loads(tiny.RECORD.read_text(encoding="utf-8"))
    training, exam, weights = record["training"], record["examination"], record["weights"]
    hardware, versions = record["hardware"], record["versions"]
    facts = [
        ("", ""),
        ("weights", f"{weights['bytes'] / 1e6:.1f} MB, SHA-256 `{weights['sha256']}`"),
        ("training", f"{training['views']} views in {training['steps']} steps, {training['seconds'] / 60:.0f} minutes"),
        ("hardware", f"{hardware['cores']} cores, {hardware['machine']}, GPU: {hardware['gpu'] or 'none'}"),
        ("software", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("examined on", f"{exam['scenes']} images of split {exam['split']}"),
        ("naming", f"{exam['naming']:g} %"),
    ]
    dense = [("method", "mIoU", "things", "stuff", "mIoU on scenes-shifted")]
    for name, scores in exam["dense"].items():
        values = [*(scores[key] for key in ("miou", "things", "stuff")), exam["shifted"][name]]
        dense.append((name, *(f"{value:.1f}" for value in values)))
    return f"{table(facts)}\n{table(dense)}"


if __name__ == "__main__":
    print("\n".join(map(str, write_pages(Path(sys.argv[1])))))
