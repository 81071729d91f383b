"""`ovss list protocols [NAME]`: the settings a number can be measured under."""

import argparse
from typing import TYPE_CHECKING, Any

from ovss.cli.common import described, show
from ovss.cli.models import own_filter
from ovss.files.tables import text_table

if TYPE_CHECKING:
    from ovss.protocols import Protocol

__all__ = ["add_command", "change_rows", "field_rows", "overview_rows"]


def add_command(commands: Any) -> None:
    """Add `protocols`."""
    parser = commands.add_parser("protocols", **described("list the evaluation protocols, or show one"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a protocol, or a .toml file of your own")
    parser.add_argument("--dataset", help="show the values for this data set")
    parser.add_argument("--model", help="and for this architecture")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the list, or one protocol; returns 0."""
    from ovss.protocols import list_protocols, load_protocol

    if arguments.name is None:
        show(overview([load_protocol(name) for name in list_protocols()]))
        return 0
    protocol = load_protocol(arguments.name)
    if arguments.dataset or arguments.model:
        protocol = protocol.for_dataset(arguments.dataset or "", arguments.model)
    show(details(protocol))
    return 0


def overview(protocols: list["Protocol"]) -> str:
    """A table with a line per protocol."""
    lines = text_table(overview_rows(protocols)).splitlines()
    notes = [f"{protocol.name}: {protocol.description}" for protocol in protocols]
    return "\n".join([*lines, "", *notes])


def overview_rows(protocols: list["Protocol"]) -> list[tuple[str, ...]]:
    """The same as rows, the head first."""
    rows: list[tuple[str, ...]] = [("name", "short side", "window/stride", "templates", "names", "scale", "hash")]
    for protocol in protocols:
        unit = "x" if protocol.relative else ""
        window = "whole" if protocol.window is None else f"{protocol.window}{unit}/{protocol.stride}{unit}"
        scale = "model" if protocol.logit_scale is None else f"{protocol.logit_scale:g}"
        short, templates = f"{protocol.short_side}{unit}", str(len(protocol.templates))
        rows.append((protocol.name, short, window, templates, protocol.variant, scale, protocol.hash[:12]))
    return rows


def details(protocol: "Protocol") -> str:
    """All fields, what changes for which data set, and the hash."""
    lines = [f"{protocol.name}: {protocol.description}", f"hash {protocol.hash}"]
    if protocol.dataset is not None:
        lines.append(f"resolved for {protocol.dataset or 'any data set'}, {protocol.model or 'any model'}")
    lines += ["", text_table(field_rows(protocol))]
    changes = change_rows(protocol)
    if changes:
        lines += ["", "changes for", text_table(changes)]
    return "\n".join(lines)


def field_rows(protocol: "Protocol") -> list[tuple[str, str]]:
    """Each field with its value as text."""
    rows = {key: _as_text(key, value) for key, value in protocol.fields.items()}
    if protocol.resize_filter == "model":
        rows["resize_filter"] = f"model ({own_filter(protocol.model or '') or 'as the weights say'})"
    return list(rows.items())


def change_rows(protocol: "Protocol") -> list[tuple[str, str]]:
    """Data sets and models for which fields change, with those fields; none of a protocol that is resolved."""
    overrides = protocol.overrides if protocol.dataset is None else {}
    return [
        (table, ", ".join(f"{key} = {_as_text(key, value)}" for key, value in values.items()))
        for table, values in overrides.items()
    ]


def _as_text(key: str, value: Any) -> str:
    if key == "templates":
        from ovss.vocabulary.templates import TEMPLATE_SETS

        name = next((name for name, texts in TEMPLATE_SETS.items() if texts == value), None)
        return f"{name} ({len(value)})" if name else "; ".join(value)
    if value is None:
        return "model" if key == "logit_scale" else "whole image" if key == "window" else "none"
    if isinstance(value, dict):
        tables = ((name, ", ".join(f"{key}={entry}" for key, entry in table.items())) for name, table in value.items())
        return "; ".join(f"{name}({table})" for name, table in tables) or "as they are"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
