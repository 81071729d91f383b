"""Settings of the documentation; `make docs` builds it, without a network and without one in its pages."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tools"))

import docs_pages  # noqa: E402

import ovss  # noqa: E402

(HERE / "extra").mkdir(exist_ok=True)
REPOSITORY = os.environ.get("OVSS_REPOSITORY", "")
"""Where the repository is on GitHub, "owner/name": the one place that knows. Without it no page links there."""
if REPOSITORY and not re.fullmatch(r"[\w.-]+/[\w.-]+", REPOSITORY):
    raise ValueError(f"OVSS_REPOSITORY={REPOSITORY!r} is not owner/name")

project = "ovss"
author = "The ovss authors"
copyright = f"2026, {author}"
release = version = ovss.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "index"
smartquotes_action = "D"  # dashes of field lists; quotes stay as they were typed
exclude_patterns = ["pages/parts/*", "extra/*"]

myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = f"ovss {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_extra_path = ["extra"]
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse for files
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"


def _write_pages(app: Sphinx) -> None:
    """Pages made from the package, and the report of the reference run, where Sphinx finds them."""
    docs_pages.write_pages(HERE / "pages", REPOSITORY)
    report = HERE / "extra" / "report"
    shutil.rmtree(report, ignore_errors=True)
    if docs_pages.REPORT.is_dir():
        shutil.copytree(docs_pages.REPORT, report)


def _as_mathml(self: Any, node: Any) -> None:
    self.body.append(convert(node.astext()))
    raise SkipNode


def _as_mathml_block(self: Any, node: Any) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>\n')
    raise SkipNode


def _shown_as_it_is(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Characters of docstrings that reStructuredText would take as markup, outside of code and examples."""
    if what == "module":
        _list_words(lines)
    if what == "property" and lines:
        # Napoleon takes what stands before a colon in the first line of a property for its type.
        lines[0] = lines[0].replace(":", "\N{RATIO}")
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(`[^`]*`)", line)
        lines[number] = "".join(
            part if part.startswith("`") else re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts
        )


def _list_words(lines: list[str]) -> None:
    """Make the words that a room defines, indented below a line that says so, a list."""
    for number, line in reversed(list(enumerate(lines))):
        word = re.match(r" {4}(\w[^:]*): (.*)", line)
        if word:
            lines[number] = f"- `{word[1]}`: {word[2]}"
            if number and lines[number - 1] and not lines[number - 1].startswith(" "):
                lines.insert(number, "")
        elif re.match(r" {8}\S", line):
            lines[number] = f"  {line.strip()}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the pages that are made, and mathematics without a script."""
    app.connect("builder-inited", _write_pages)
    app.connect("autodoc-process-docstring", _shown_as_it_is, priority=100)
    app.add_html_math_renderer("mathml", (_as_mathml, None), (_as_mathml_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
