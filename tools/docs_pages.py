"""Pages of the documentation that are made from the package: `docs/conf.py` has them written before each build.

Methods from their classes, protocols, data sets and vocabularies from their files, the numbers of the model card from the
record of its training, walkthroughs from their notebooks. Nothing here is typed by hand that stands elsewhere.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pandas as pd

from ovss import tiny
from ovss.cli.catalogue import describe_class
from ovss.cli.methods import describe
from ovss.cli.protocols import change_rows, field_rows, overview_rows
from ovss.cli.vocabularies import variant_rows, word_rows
from ovss.datasets import BENCHMARKS, OTHER_NAMES
from ovss.datasets.base import class_names
from ovss.datasets.layouts import GUIDES
from ovss.files.tables import to_markdown
from ovss.ledger import load_published
from ovss.methods import Method, list_methods, method_class
from ovss.protocols import list_protocols, load_protocol
from ovss.scenes.scenes import VARIANTS
from ovss.vocabulary import load_vocabulary
from ovss.vocabulary.tables import describe_vocabulary, list_variants, list_vocabularies

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "tiny"
ROOMS = (
    *("backbone", "methods", "ingredients", "protocols", "vocabulary", "segment", "datasets", "metrics"),
    *("evaluation", "analysis", "figures", "ledger", "lab.testing", "errors"),
)
"""Modules with a page in the reference; each lists what it offers in `__all__`."""
WALKTHROUGHS = "[01][0-9]_*.ipynb"
_SPECIAL = re.compile(r"([\\*_\[\]<>|$#])")
_CODE = re.compile(r"(`[^`]+`)")


def pages(repository: str = "") -> dict[str, str]:
    """All generated pages, by their paths.

    Args:
        repository: "owner/name" on GitHub, for the links that open a walkthrough elsewhere; empty leaves them out.
    """
    walkthroughs = {path.stem: notebook for path, notebook in _walkthroughs()}
    names = list_methods()
    return {
        "methods/index.md": _methods_index(names),
        **{f"methods/{name}.md": method_page(method_class(name), walkthroughs) for name in names},
        "protocols.md": _protocols_page(),
        "datasets.md": _datasets_page(),
        "vocabularies.md": _vocabularies_page(),
        **{f"vocabularies/{name}.md": _vocabulary_page(name) for name in list_vocabularies()},
        "walkthroughs/index.md": _walkthroughs_index(walkthroughs),
        **{f"walkthroughs/{stem}.ipynb": _page_of(stem, walkthroughs[stem], repository) for stem in walkthroughs},
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


def escaped(text: str) -> str:
    """Text of a docstring as Markdown that shows it as it is; what stands in backticks is code."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is the head."""
    head, *body = [[escaped(cell).replace("\\|", "|") for cell in row] for row in rows]
    return to_markdown(pd.DataFrame(body, columns=head, dtype=str))


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>\n"


def _toctree(entries: Iterable[str], more: str = "") -> str:
    listed = "\n".join(entries)
    return f"```{{toctree}}\n{more}\n{listed}\n```\n"


def _methods_index(names: Sequence[str]) -> str:
    rows = [("method", "passes", "venue", "what it computes")]
    for name in names:
        method = describe_class(method_class(name))
        rows.append((name, str(1 + method.own_pass), method.paper["venue"], _first_line(method_class(name))))
    table = _table(rows)
    for name in names:
        table = table.replace(f"| {escaped(name)} |", f"| [{escaped(name)}]({name}.md) |", 1)
    text = "Each method is a function of the same backbone pass; `passes` counts those that it needs."
    tower = "Which method runs on which image tower: [methods by image tower](../../methods_by_tower.md)."
    return f"# Methods\n\n{text} {tower}\n\n{table}\n{_toctree(names, ':hidden:')}"


def _first_line(cls: type[Method]) -> str:
    return (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def method_page(cls: type[Method], walkthroughs: Mapping[str, Any]) -> str:
    """One method: idea, formula, parameters, deviations, cost, published numbers, where to read on.

    Args:
        cls: Its class.
        walkthroughs: Notebooks by their stems, to be searched for the method.
    """
    method, module = describe_class(cls), import_module(cls.__module__)
    paper = method.paper
    link = f", [arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})" if paper["arxiv"] else ""
    origin = f"*{escaped(paper['title'])}*. {escaped(paper['authors'])}. {escaped(paper['venue'])}{link}."
    summary, _, body = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    parts = [f"# {escaped(cls.name)}\n\n{escaped(summary)}\n\n{origin}\n\n## Idea\n\n{escaped(body or summary)}\n"]
    formula = "\n>\n> ".join(
        escaped(" ".join(part.split())) for part in inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    )
    parts.append(f"## Formula\n\n> {formula}\n\nBlocks: {escaped(paper['layers'])}.\n")
    rows = [("parameter", "default", "values", "meaning", "source"), *map(tuple, describe(cls.name))]
    shown = _table([(row[0], row[1], row[2], row[3], row[4]) for row in rows])
    parts.append("## Parameters\n\n" + (shown if len(rows) > 1 else "None.\n"))
    deviations = "".join(f"- {escaped(line)}\n" for line in paper["deviations"]) or "None that is known.\n"
    parts.append(f"## Deviations from the paper\n\n{deviations}")
    parts.append(f"## Cost\n\n{_cost(method.own_pass, method.shares_windows, cls)}\n")
    parts.append(f"## Published numbers\n\n{_published(cls.name)}\n")
    parts.append(f"## Read on\n\n{_read_on(cls, walkthroughs)}")
    source = f"```{{literalinclude}} ../../../{Path(module.__file__ or '').relative_to(ROOT).as_posix()}\n```"
    parts.append(_folded("Source: the whole file", source))
    return "\n".join(parts)


def _cost(own_pass: bool, shares: bool, cls: type[Method]) -> str:
    passes = "One backbone pass of its own beside the shared one." if own_pass else "The shared backbone pass alone."
    lines = [passes]
    if cls.uses_companion:
        lines.append("A second network runs beside the model (`companion=`); without one the model is its own.")
    if shares:
        lines.append("It can run with `windows='shared'`, attention over all windows of an image.")
    times = REPORT / "timings" / "method_cost.csv"
    if times.is_file():
        for row in pd.read_csv(times).to_dict("records"):
            if row["method"].partition("(")[0] == cls.name:
                interval = f"{row['ratio']:.2f} times [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
                lines.append(
                    f"In the reference run `{row['method']}` took {interval} the time of plain `encode_image` on the same "
                    f"windows (model `{row['model']}`; {row['machine']}); on a larger model the ratio is another."
                )
    return " ".join(lines)


def _published(name: str) -> str:
    cells = load_published()
    cells = cells.loc[(cells["method"] == name) & cells["value"].notna()]
    if cells.empty:
        return "None in the ledger."
    columns = ["arch", "weights", "protocol", "dataset", "metric", "value", "source"]
    shown = cells[columns].map(lambda cell: escaped(cell) if isinstance(cell, str) else cell)
    sentence = f"{len(cells)} in the ledger, as their sources print them; `ovss ledger` puts measured ones beside them."
    return f"{sentence}\n\n{_folded('Show them', to_markdown(shown, 1))}"


def _read_on(cls: type[Method], walkthroughs: Mapping[str, Any]) -> str:
    lines = []
    word = re.compile(rf"[\"']{cls.name}[\"'(]")
    for stem, notebook in walkthroughs.items():
        if any(word.search(cell.source) for cell in notebook.cells if cell.cell_type == "code"):
            lines.append(f"- Walkthrough [{_title(notebook)}](../walkthroughs/{stem}.ipynb)\n")
    named = [name for name in list_protocols() if re.split(r"[+-]", name)[0] == cls.name]
    tuned = [name for name in list_protocols() if cls.name in load_protocol(name).fields["methods"]]
    for name in dict.fromkeys([*named, *tuned]):
        lines.append(f"- Protocol [{name}](../protocols.md#{_anchor(name)})\n")
    return "".join(lines) or "- The paper.\n"


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "", name.lower())


def _protocols_page() -> str:
    protocols = [load_protocol(name) for name in list_protocols()]
    parts = ["# Protocols\n\nEvery number is made under a protocol; its hash covers all that is listed here.\n"]
    parts.append(_table(overview_rows(protocols)))
    for protocol in protocols:
        parts.append(f"## {protocol.name}\n\n{escaped(protocol.description)}\n\nHash `{protocol.hash}`.\n")
        changes = change_rows(protocol)
        if changes:
            parts.append(_table([("for", "changes"), *changes]))
        parts.append(_folded("All fields", _table([("field", "value"), *field_rows(protocol)])))
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
    head = "# Data sets\n\n`ovss list datasets` says which of them are on this machine; [real benchmarks](../howto/benchmarks.md) "
    return (
        f"{head}says how they are found.\n\n{_table(rows)}\nUnder other names:\n\n{others}\n"
        f"Generated, with exact masks ([card](../tiny.md)):\n\n{drawn}\n"
        "`folder` is a [data set of your own](../howto/dataset.md).\n"
    )


def _vocabularies_page() -> str:
    rows = [("data set", "variants", "")]
    rows += [(name, " ".join(list_variants(name)), describe_vocabulary(name)) for name in list_vocabularies()]
    table = _table(rows)
    for name in list_vocabularies():
        table = table.replace(f"| {escaped(name)} |", f"| [{escaped(name)}](vocabularies/{name}.md) |", 1)
    text = "Papers use different words for the classes of one data set, and a protocol says which (its field `names`)."
    tree = _toctree((f"vocabularies/{name}" for name in list_vocabularies()), ":hidden:")
    return f"# Vocabularies\n\n{text}\n\n{table}\n{tree}"


def _vocabulary_page(name: str) -> str:
    parts = [f"# {escaped(name)}\n\n{escaped(describe_vocabulary(name))}.\n", _table(variant_rows(name))]
    for variant in list_variants(name):
        vocabulary = load_vocabulary(name, variant)
        rows = [("", "class", "words, where they are not its name"), *word_rows(vocabulary)]
        parts.append(_folded(f"{variant}: {len(vocabulary.queries)} words", _table(rows)))
    return "\n".join(parts)


def _walkthroughs() -> list[tuple[Path, Any]]:
    paths = sorted((ROOT / "notebooks").glob(WALKTHROUGHS))
    return [(path, nbformat.read(path, as_version=4)) for path in paths]


def _title(notebook: Any) -> str:
    return next(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()[0].lstrip("# ")


def _walkthroughs_index(walkthroughs: Mapping[str, Any]) -> str:
    text = (
        "Shown as they were executed on the embedded model. `ovss notebooks` copies them, `jupyter lab` opens them, and with "
        "other parameters they run on real CLIP. Each ends with questions and exercises; [solutions](solutions.md)."
    )
    return f"# Walkthroughs\n\n{text}\n\n{_toctree([*walkthroughs, 'solutions'], ':maxdepth: 1')}"


def _page_of(stem: str, notebook: Any, repository: str) -> str:
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
        code = f"```{{literalinclude}} ../../../{path.relative_to(ROOT).as_posix()}\n```"
        parts.append(f"## {escaped(path.stem)}\n\n{_folded('Show', code)}")
    return "\n".join(parts)


def _api_index() -> str:
    import ovss

    rows = [("name", "stands in")]
    for name in sorted(ovss.__all__):
        thing = getattr(ovss, name)
        home = thing.__name__ if inspect.ismodule(thing) else ".".join(thing.__module__.split(".")[:2])
        rows.append(
            (f"`ovss.{name}`", f"`{home.replace('ovss.lab', 'ovss.lab.testing') if name == 'testing' else home}`")
        )
    text = "What `import ovss` offers, and the rooms behind it. Examples in docstrings are run by the tests."
    return f"# Reference\n\n{text}\n\n{_table(rows)}\n{_toctree(ROOMS, ':maxdepth: 1')}"


def _api_page(room: str) -> str:
    directive = f".. automodule:: ovss.{room}\n   :members:\n   :imported-members:\n   :member-order: bysource\n"
    return f"# ovss.{room}\n\n```{{eval-rst}}\n{directive}```\n"


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
        (
            "examined on",
            f"{exam['scenes']} images of {exam['split']}, whole images as single objects: {exam['naming']:g} % named",
        ),
    ]
    dense = [("method", "mIoU", "things", "stuff", "mIoU on scenes-shifted")]
    for name, scores in exam["dense"].items():
        dense.append(
            (name, *(f"{scores[key]:.1f}" for key in ("miou", "things", "stuff")), f"{exam['shifted'][name]:.1f}")
        )
    return f"{_table(facts)}\n{_table(dense)}"


if __name__ == "__main__":
    print("\n".join(map(str, write_pages(Path(sys.argv[1])))))
