"""Markdown as the pages of the documentation need it: text shown as it is, tables, parts that fold."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from ovss.files.tables import to_markdown

_SPECIAL = re.compile(r"([\\*_\[\]<>|$#])")
_CODE = re.compile(r"(`[^`]+`)")
_SIGNS = {
    r"\^T\b": "\N{MODIFIER LETTER CAPITAL T}",
    r"\bsqrt (?=\w)": "\N{SQUARE ROOT}",
    r"\bOmega\b": "\N{GREEK CAPITAL LETTER OMEGA}",
    r"\balpha\b": "\N{GREEK SMALL LETTER ALPHA}",
    r"\bbeta\b": "\N{GREEK SMALL LETTER BETA}",
    r"\bgamma\b": "\N{GREEK SMALL LETTER GAMMA}",
    r"\blam\b": "\N{GREEK SMALL LETTER LAMDA}",
    r"\btau\b": "\N{GREEK SMALL LETTER TAU}",
}
"""What formulas of docstrings spell out."""


def escaped(text: str) -> str:
    """Text of a docstring as Markdown that shows it as it is; what stands in backticks is code."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def formula(text: str) -> str:
    """A formula of a docstring with the signs that it spells out, as Markdown: `^T` and `sqrt` as signs."""
    for spelt, sign in _SIGNS.items():
        text = re.sub(spelt, sign, text)
    return escaped(text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is the head."""
    head, *body = [[escaped(cell).replace("\\|", "|") for cell in row] for row in rows]
    return to_markdown(pd.DataFrame(body, columns=head, dtype=str))


def with_links(text: str, pages: dict[str, str]) -> str:
    """A table whose first column leads to pages.

    Args:
        text: From `table`.
        pages: Address by the cell of the first column.
    """
    for name, page in pages.items():
        text = text.replace(f"| {escaped(name)} |", f"| [{escaped(name)}]({page}) |", 1)
    return text


def folded(title: str, content: str) -> str:
    """A part that opens on a click; a search of the page finds it all the same."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>\n"


def toctree(entries: Iterable[str], option: str = ":maxdepth: 1") -> str:
    """Pages below this one."""
    listed = "\n".join(entries)
    return f"```{{toctree}}\n{option}\n{listed}\n```\n"


def file_of_the_tree(path: str) -> str:
    """A file of the repository, as text; for a page that lies two folders below `docs`."""
    return f"```{{literalinclude}} ../../../{path}\n```"
