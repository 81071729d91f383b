"""An executed notebook as part of a page: markup in it is made harmless, images are embedded."""

import re
from pathlib import Path

import bleach
import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter

_TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "div", "span", "blockquote", "pre", "ol", "ul", "li"),
    *("a", "b", "em", "strong", "code", "sub", "sup", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "img"),
    *("details", "summary"),
}
_ATTRIBUTES = {"a": ("href", "title"), "td": ("colspan", "rowspan"), "th": ("colspan", "rowspan", "scope")}
_SILENT = re.compile(r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
"""Elements whose content is not text; of the others only the tags are removed."""
_SCROLLING = re.compile(r'<div class="((?:output_subarea [^"]*output_(?:html|text|stream)|highlight))')
_CODE = re.compile(r'(<div class="input_area">\s*)(<div tabindex="0" class="highlight.*?</div>)', re.DOTALL)
_IMAGES = ("data:image/png;base64,", "data:image/jpeg;base64,")


def notebook_body(path: Path) -> Markup:
    """Cells of a notebook as HTML.

    Args:
        path: An executed notebook.

    Returns:
        Markup without scripts, forms, styles, event handlers or foreign images, whatever the cells contain.
    """
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    body = _SILENT.sub("", body)
    body = bleach.clean(
        body, tags=_TAGS, attributes=_allowed, protocols={"http", "https", "mailto", "data"}, strip=True
    )
    # What scrolls sideways must be reachable by keyboard.
    body = _SCROLLING.sub(r'<div tabindex="0" class="\1', body)
    # A reader of results wants the prose and the figures; code is one click away.
    return Markup(_CODE.sub(r"\1<details><summary>Code</summary>\2</details>", body))


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "class":
        return True
    if tag == "img":
        return name == "alt" or (name == "src" and value.startswith(_IMAGES))
    return name in _ATTRIBUTES.get(tag, ()) and not value.lstrip().lower().startswith("data:")
