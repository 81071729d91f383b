"""`ovss list methods [NAME]`: all methods, or what one computes, from where, with which parameters."""

import argparse
import textwrap
from typing import Any, NamedTuple

from ovss.cli.catalogue import Description, Hyperparameter, describe_methods, support_words
from ovss.cli.common import described, show
from ovss.errors import InputError, suggest
from ovss.files.tables import text_table

__all__ = ["add_command"]

_WIDTH = 110


class ParameterRow(NamedTuple):
    """One hyperparameter, ready to be shown."""

    parameter: str
    default: str
    values: str
    help: str
    source: str


def add_command(commands: Any) -> None:
    """Add `methods`."""
    parser = commands.add_parser("methods", **described("list the methods, or one method's parameters and source"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a method; without it all are listed")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the list, or one method; returns 0."""
    show(overview() if arguments.name is None else details(arguments.name))
    return 0


def describe(name: str) -> list[ParameterRow]:
    """The hyperparameters of a method, in the order of its fields.

    Raises:
        InputError: No method has this name.
    """
    return [_row(parameter) for parameter in _described(name).parameters]


def overview() -> str:
    """A table with a line per method: its backbone passes, and whether it can run with windows='shared'."""
    rows = [("method", "passes", "shares", "venue", "arXiv", "title")]
    for name, method in describe_methods().items():
        paper = method.paper
        passes, shares = str(1 + method.own_pass), "yes" if method.shares_windows else "-"
        rows.append((name, passes, shares, paper["venue"], paper["arxiv"] or "-", paper["title"]))
    return text_table(rows)


def details(name: str) -> str:
    """Paper, idea, blocks, support, parameters and deviations of a method.

    Raises:
        InputError: No method has this name.
    """
    method = _described(name)
    paper = method.paper
    origin = ", ".join(filter(None, [paper["venue"], f"arXiv {paper['arxiv']}" if paper["arxiv"] else ""]))
    lines = textwrap.wrap(f"{name}: {paper['title']}", _WIDTH)
    lines += [*textwrap.wrap(paper["authors"], _WIDTH), origin, ""]
    lines += textwrap.wrap(method.summary, _WIDTH)
    lines += textwrap.wrap(f"Blocks: {paper['layers']}.", _WIDTH)
    lines += [f"Support: {support_words(paper['support'])}."]
    if method.own_pass:
        lines += ["Cost: one backbone pass of its own beside the shared one, since states change between the blocks."]
    if method.shares_windows:
        lines += ["Windows: can run with windows='shared', attention over all windows of an image."]
    rows = describe(name)
    if rows:
        table = [("parameter", "default", "values")]
        for row in rows:
            first, *more = textwrap.wrap(row.values, _WIDTH - 30)
            table += [(row.parameter, row.default, first), *(("", "", part) for part in more)]
        lines += ["", text_table(table), ""]
        for row in rows:
            text = f"{row.parameter}: {row.help} [{row.source}]"
            lines += textwrap.wrap(text, _WIDTH, subsequent_indent="    ")
    if paper["deviations"]:
        lines += ["", "Deviations from the paper:"]
        for deviation in paper["deviations"]:
            lines += textwrap.wrap(deviation, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _described(name: str) -> Description:
    known = describe_methods()
    if name not in known:
        raise InputError(f"method '{name}' is unknown.{suggest(name, known)}")
    return known[name]


def _row(item: Hyperparameter) -> ParameterRow:
    words = ", ".join(item.domain) if isinstance(item.domain, tuple) else item.domain
    values = f"{item.type}: {words}" if words else item.type
    return ParameterRow(item.name, _as_text(item.default), values, item.help, item.source)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
