"""`ovss methods`: the list of methods, or what one computes, from where, with which parameters."""

import argparse
import textwrap
from dataclasses import fields
from typing import Any, NamedTuple

from ovss.cli.protocols import aligned
from ovss.methods.parameters import type_name
from ovss.methods.registry import list_methods, method_class

WIDTH = 110


class ParameterRow(NamedTuple):
    """One hyperparameter, ready to be shown."""

    parameter: str
    default: str
    values: str
    help: str
    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("name", nargs="?", help="a method; without it all are listed")


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or one method; returns 0."""
    print(overview() if arguments.name is None else details(arguments.name))
    return 0


def describe(name: str) -> list[ParameterRow]:
    """The hyperparameters of a method, in the order of its fields.

    Raises:
        InputError: No method has this name.
    """
    return [
        ParameterRow(
            parameter=item.name,
            default=_said(item.default),
            values=_values(item.metadata["domain"], item.type),
            help=item.metadata["help"],
            source=item.metadata["source"],
        )
        for item in fields(method_class(name))
    ]


def overview() -> str:
    """A table with a line per method."""
    rows = [("method", "passes", "venue", "arXiv", "title")]
    for name in list_methods():
        cls = method_class(name)
        paper = cls.paper
        rows.append((name, str(1 + cls.own_pass), paper.venue, paper.arxiv or "-", paper.title))
    return aligned(rows)


def details(name: str) -> str:
    """Paper, idea, blocks, parameters and deviations of a method.

    Raises:
        InputError: No method has this name.
    """
    cls = method_class(name)
    paper = cls.paper
    origin = ", ".join(filter(None, [paper.venue, f"arXiv {paper.arxiv}" if paper.arxiv else ""]))
    lines = textwrap.wrap(f"{name}: {paper.title}", WIDTH)
    lines += [*textwrap.wrap(paper.authors, WIDTH), origin, ""]
    lines += textwrap.wrap((cls.__doc__ or "").strip(), WIDTH)
    lines += textwrap.wrap(f"Blocks: {paper.layers}.", WIDTH)
    if cls.own_pass:
        lines += ["Cost: one backbone pass of its own beside the shared one, since states change between the blocks."]
    rows = describe(name)
    if rows:
        head = ("parameter", "default", "values")
        lines += ["", aligned([head, *((row.parameter, row.default, row.values) for row in rows)]), ""]
        for row in rows:
            text = f"{row.parameter}: {row.help} [{row.source}]"
            lines += textwrap.wrap(text, WIDTH, subsequent_indent="    ")
    if paper.deviations:
        lines += ["", "Deviations from the paper:"]
        for deviation in paper.deviations:
            lines += textwrap.wrap(deviation, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _values(domain: str | tuple[str, ...] | None, kind: Any) -> str:
    words = ", ".join(domain) if isinstance(domain, tuple) else domain
    named = type_name(kind)
    return f"{named}: {words}" if words else named
