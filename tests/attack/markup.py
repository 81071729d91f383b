"""Words that would be markup: wherever a page shows what a user wrote, they stay words."""

import random
import re
from collections import Counter
from pathlib import Path

from PIL import Image
from report_helpers import Page, write_run

from ovss.app.playground import _original
from ovss.files.tables import html_table
from ovss.report.site import build_site

OPENINGS = ("<", '"><', "'><", "&lt;", "</td><", "</script><", "--><", "<!--><", "]]><", "\\u003c", "<\0")
TAGS = (
    "script",
    "img src=x onerror=",
    "svg onload=",
    "iframe src=javascript:",
    "a href=javascript:",
    "style",
    "base href=",
    "meta http-equiv=refresh content=",
    "details open ontoggle=",
    "math><mi xlink:href=",
    "form action=",
    "object data=",
)
ENDS = ("alert(1)>", "'alert(1)'>", '"alert(1)">', "alert(1)</script>", ">alert(1)</style>", "//", "alert`1`>", "x")


def probe(draw: random.Random) -> str:
    """A text that would run a script, or ask another host, where it were taken for markup."""
    return (
        draw.choice(OPENINGS)
        + draw.choice(TAGS)
        + draw.choice(ENDS)
        + draw.choice(("", "{{ 7 * 7 }}", "{% raw %}", "${7*7}", "$(x)"))
    )


def attack(folder: Path, count: int, seed: int) -> Counter[str]:
    """Put probes into everything that a report, a table and the application show.

    Raises:
        AssertionError: One became an element or an attribute.
    """
    draw, outcomes = random.Random(seed), Counter()
    plain = {}
    for number in range(-1, count):
        text = "word" if number < 0 else probe(draw)
        what = f"probe {number} of seed {seed}: {text!r}"
        site = folder / str(number)
        build_site(site, write_run(site, evil=text), [f"{text} failed"])
        pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
        pages["table"] = html_table(text, [(text, "value"), (text, text)])
        pages["application"] = _original(Image.new("RGB", (8, 8)), text)
        for name, content in pages.items():
            # What a number leads to is named by a hash of what made it.
            page = Page(re.sub(r"#p-[0-9a-f]+", "#p-", content))
            found = (
                page.tags,
                page.handlers,
                [address for address in page.addresses if not address.startswith("data:")],
            )
            if number < 0:
                plain[name] = found
            else:
                assert found == plain[name], f"{what} changed the elements of {name}"
                assert "49" not in content or "{{ 7 * 7 }}" in content or "7*7" not in text, what
                outcomes[f"{'report' if name.endswith('.html') else name}: words"] += 1
    return outcomes
