"""Pages of the methods: idea, formula, parameters, deviations, cost and what to read on, from their classes."""

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from docs_text import escaped, file_of_the_tree, folded, formula, table, toctree, with_links

from ovss.cli.catalogue import describe_class, support_words
from ovss.cli.methods import describe
from ovss.files.tables import to_markdown
from ovss.ledger import load_published
from ovss.methods import Method, create_method, method_class
from ovss.methods.tuned import set_per_dataset, tuned_names, under_protocol
from ovss.protocols import list_protocols, load_protocol
from ovss.vocabulary.tables import list_vocabularies

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "tiny"


def methods_index(names: Sequence[str]) -> str:
    """A line per method, each with a link to its page."""
    rows = [("method", "passes", "venue", "what it computes")]
    for name in names:
        method = describe_class(method_class(name))
        rows.append((name, str(1 + method.own_pass), method.paper["venue"], _first_line(method_class(name))))
    text = "Each method is a function of the same backbone pass; `passes` counts those that it needs."
    tower = "Which method runs on which image tower: [methods by image tower](../../methods_by_tower.md)."
    listed = with_links(table(rows), {name: f"{name}.md" for name in names})
    return f"# Methods\n\n{text} {tower}\n\n{listed}\n{toctree(names, ':hidden:')}"


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
    stated = [formula(" ".join(part.split())) for part in inspect.cleandoc(cls.__doc__ or "").split("\n\n")]
    quoted = "\n>\n> ".join(stated)
    parts.append(f"## Formula\n\n> {quoted}\n\nBlocks: {escaped(paper['layers'])}.\n")
    rows = [("parameter", "default", "values", "meaning", "source"), *map(tuple, describe(cls.name))]
    shown = table([(row[0], row[1], row[2], row[3], row[4]) for row in rows])
    parts.append("## Parameters\n\n" + (shown if len(rows) > 1 else "None.\n"))
    deviations = "".join(f"- {escaped(line)}\n" for line in paper["deviations"]) or "None that is known.\n"
    parts.append(f"## Deviations from the paper\n\n{deviations}")
    parts.append(f"## Support and tuning\n\n{_tuning(cls.name, paper['support'])}\n")
    parts.append(f"## Cost\n\n{_cost(method.own_pass, method.shares_windows, cls)}\n")
    parts.append(f"## Published numbers\n\n{_published(cls.name)}\n")
    parts.append(f"## Read on\n\n{_read_on(cls, walkthroughs)}")
    source = Path(module.__file__ or "").relative_to(ROOT).as_posix()
    parts.append(folded("Source: the whole file", file_of_the_tree(source)))
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
                    f"In the reference run `{row['method']}` took {interval} the time of plain `encode_image` on the "
                    f"same windows (model `{row['model']}`; {row['machine']}); on a larger model the ratio is another."
                )
    return " ".join(lines)


def _tuning(name: str, support: str) -> str:
    """What a method has beside the model, and which of its values the protocols set anew for single data sets."""
    made, rows = create_method(name), []
    for protocol in _protocols_of(name):
        loaded = load_protocol(protocol)
        found: dict[tuple[str, ...], list[str]] = {}
        for dataset in sorted(set(loaded.overrides) & set(list_vocabularies())):
            rules = loaded.for_dataset(dataset)
            names = (*set_per_dataset(rules), *tuned_names(under_protocol(made, rules), rules))
            found.setdefault(names, []).append(dataset)
        rows += [(protocol, ", ".join(datasets), ", ".join(names)) for names, datasets in found.items() if names]
    stated = f"Support: {support_words(support)}."
    if not rows:
        return f"{stated} No protocol here sets a value of this method for a single data set."
    told = "Set per data set, so that a row under such a protocol says it too (column `set per data set`):"
    return f"{stated} {told}\n\n{table([('protocol', 'data sets', 'set anew'), *rows])}"


def _protocols_of(name: str) -> list[str]:
    """Protocols that are named after a method or hold parameters of it."""
    named = [protocol for protocol in list_protocols() if re.split(r"[+-]", protocol)[0] == name]
    tuned = [
        protocol
        for protocol in list_protocols()
        for settings in (load_protocol(protocol).fields, *load_protocol(protocol).overrides.values())
        if name in settings.get("methods", {})
    ]
    return list(dict.fromkeys([*named, *tuned]))


def _published(name: str) -> str:
    cells = load_published()
    cells = cells.loc[(cells["method"] == name) & cells["value"].notna()]
    if cells.empty:
        return "None in the ledger."
    columns = ["arch", "weights", "protocol", "dataset", "metric", "value", "source"]
    shown = cells[columns].map(lambda cell: escaped(cell) if isinstance(cell, str) else cell)
    sentence = f"{len(cells)} in the ledger, as their sources print them; `ovss ledger` puts measured ones beside them."
    return f"{sentence}\n\n{folded('Show them', to_markdown(shown, 1))}"


def _read_on(cls: type[Method], walkthroughs: Mapping[str, Any]) -> str:
    lines = []
    word = re.compile(rf"[\"']{cls.name}[\"'(]")
    for stem, notebook in walkthroughs.items():
        if any(word.search(cell.source) for cell in notebook.cells if cell.cell_type == "code"):
            lines.append(f"- Walkthrough [{_title(notebook)}](../walkthroughs/{stem}.ipynb)\n")
    for name in _protocols_of(cls.name):
        lines.append(f"- Protocol [{name}](../protocols.md#{_anchor(name)})\n")
    return "".join(lines) or "- The paper.\n"


def _title(notebook: Any) -> str:
    return next(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()[0].lstrip("# ")


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "", name.lower())
