"""`ovss list methods|models|protocols|datasets|vocabularies [NAME]`: what there is, and what one of it is."""

from typing import Any

from ovss.cli import datasets, methods, models, protocols, vocabularies
from ovss.cli.common import described

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add `list`, whose kinds are the commands of the same names."""
    text = "list methods, models, protocols, datasets or vocabularies, or show one of them"
    kinds = commands.add_parser("list", **described(text)).add_subparsers(
        title="kinds", dest="kind", metavar="KIND", required=True
    )
    for add in (
        methods.add_command,
        models.add_command,
        protocols.add_command,
        datasets.add_listing,
        vocabularies.add_command,
    ):
        add(kinds)
