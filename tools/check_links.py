"""Links of a built site that lead nowhere, and addresses that a page would fetch: `python tools/check_links.py FOLDER`.

Links to other hosts are not followed; they may be there, scripts, styles, fonts and images from other hosts may not.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
_NOT_FETCHED = {"canonical", "next", "prev", "index", "search", "author"}
"""Kinds of <link> that a browser does not load."""
_IN_STYLE = re.compile(r"@import|url\(\s*['\"]?(?:https?:)?//")


class _Page(HTMLParser):
    """Addresses and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag leads to, loads or is called."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name in ("href", "src"):
            if name in values:
                self.links.append(values[name])
                kinds = set(values.get("rel", "").split())
                if (tag, name) in _FETCHED and not (tag == "link" and kinds & _NOT_FETCHED):
                    self.fetched.append(values[name])


def faults(site: Path) -> list[str]:
    """What is wrong with the links of a site, one line for each: page, address, reason."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        for address in dict.fromkeys(page.links):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name}: {address}: no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {address}: no such place in the page")
        for address in page.fetched:
            parts = urlsplit(address)
            if parts.netloc or parts.scheme not in ("", "data"):
                found.append(f"{name}: {address}: is fetched from another host")
    for path in sorted(site.rglob("*.css")):
        if _IN_STYLE.search(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site).as_posix()}: fetches from elsewhere")
    return found


def main(folder: str) -> int:
    """Print the faults; 1 where there are any, or no pages."""
    site = Path(folder).resolve()
    found = faults(site) if (site / "index.html").is_file() else [f"{folder} holds no index.html"]
    print("\n".join(found) or f"{folder}: every link leads somewhere, nothing is fetched from another host")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
