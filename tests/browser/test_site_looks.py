"""The report as a reader sees it: legible on a desk, on a phone, on a dark page and on paper; a view can be shared."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from site_helpers import open_browser, set_viewport

import ovss
from ovss.figures.dark import PAPER, darkened
from ovss.figures.matrices import matrix_figure
from ovss.figures.style import save_figure
from ovss.lab.examples import dataset_example
from ovss.lab.images import explorer_entry
from ovss.report.site import rebuild_site
from ovss.vocabulary import embed_vocabulary

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "tiny"
PAGES = ("index.html", "provenance.html", "explorer.html", "notebooks/22_benchmark_table.html")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.skipif(not (REFERENCE / "index.html").is_file(), reason="no reports/tiny; run 'make reference'"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The reference run with the pages and the explorer of this code, and one figure that also is dark."""
    folder = tmp_path_factory.mktemp("site") / "tiny"
    shutil.copytree(REFERENCE, folder)
    backbone, data, words = ovss.load_backbone(), ovss.load_dataset("scenes"), ovss.load_vocabulary("scenes")
    methods = {name: ovss.create_method(name) for name in ("clip", "naclip")}
    text = embed_vocabulary(backbone, words)
    entries = [
        explorer_entry(
            dataset_example(backbone, data, i), methods, text, words.query_class, words.classes, data[i].labels
        )
        for i in (0, 2)
    ]
    (folder / "data" / "explorer.json").write_text(json.dumps(entries))
    figure = matrix_figure({"": data[0].labels[:4, :4] * 1.0}, label="value").figure
    with darkened(figure):
        save_figure(figure, folder / "dark")
    shutil.move(folder / "dark.png", folder / "figures" / "miou.dark.png")
    (folder / "figures" / "pairs.dark.png").unlink()
    rebuild_site(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of this file."""
    browser = open_browser()
    yield browser
    browser.quit()


def visit(browser, page: Path, width: int = 1440, scheme: str = "light", anchor: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    set_viewport(browser, width)
    browser.get("about:blank")
    browser.get(page.as_uri() + anchor)
    browser.execute_script("for (const block of document.querySelectorAll('details')) block.open = true")


SIZE = "return parseFloat(getComputedStyle(document.querySelector(`section ${arguments[0]}`)).fontSize)"
SEEN = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.getClientRects().length)"
STATE = "const chosen = document.querySelector('.pick[aria-pressed=true]');"
STATE += "return [document.querySelector('.state').textContent, chosen.dataset.index]"
TEXTS = """
const colours = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, a = 1] = colours(getComputedStyle(e).backgroundColor);
    layers.push([r, g, b, a]);
    if (a === 1) break;
  }
  const over = (below, [r, g, b, a]) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
  return layers.reverse().reduce(over, [255, 255, 255]);
};
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text || element.closest("script, noscript, option, .hidden, .skip")) continue;
  const style = getComputedStyle(element);
  if (style.visibility === "hidden" || !element.getClientRects().length) continue;
  const look = [parseFloat(style.fontSize), Number(style.fontWeight), colours(style.color), ground(element)];
  found.push([text.slice(0, 60), ...look]);
}
return found;
"""


def luminance(colour: list[float]) -> float:
    """Of WCAG 2.1, for channels up to 255."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour[:3])]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_no_text_is_smaller_than_eleven_pixels(browser, site, name, width):
    visit(browser, site / name, width)
    texts = browser.execute_script(TEXTS)
    assert len(texts) > 15
    assert [(text, size) for text, size, *_ in texts if size < 11] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_text_has_the_contrast_of_wcag_aa(browser, site, name, scheme):
    visit(browser, site / name, scheme=scheme)
    faint = []
    for text, size, weight, ink, paper in browser.execute_script(TEXTS):
        large = size >= 24 or (size >= 18.66 and weight >= 700)
        if contrast(ink, paper) < (3 if large else 4.5):
            faint.append((text, round(contrast(ink, paper), 2)))
    assert faint == []


def test_headings_rank_above_what_they_head(browser, site):
    visit(browser, site / "index.html")
    sizes = {tag: browser.execute_script(SIZE, tag) for tag in ("h1", "h2", "h3", "td")}
    assert sizes["h1"] > sizes["h2"] > sizes["h3"] > sizes["td"]


@pytest.mark.parametrize("width", [390, 1440])
def test_figures_fill_the_column_and_their_words_can_be_read(browser, site, width):
    visit(browser, site / "index.html", width)
    rows = browser.execute_script("""
        const rows = new Map();
        for (const figure of document.querySelectorAll(".figures figure")) {
            const box = figure.getBoundingClientRect();
            const key = `${figure.parentElement.offsetTop} ${Math.round(box.top)}`;
            const column = figure.parentElement.getBoundingClientRect();
            const image = [...figure.querySelectorAll("img")].find((one) => one.getClientRects().length);
            const scale = image.getBoundingClientRect().width / image.getAttribute("width");
            rows.set(key, [...(rows.get(key) ?? []), [box.left - column.left, column.right - box.right, scale]]);
        }
        return [...rows.values()];
    """)
    assert len(rows) > 10
    for row in rows:
        assert min(left for left, _, _ in row) < 1
        assert min(right for _, right, _ in row) < 1
        # Files have 160 dots an inch; words of 8 points are so many pixels on the page:
        assert min(8 / 72 * 160 * scale for *_, scale in row) >= 8


def test_a_dark_page_shows_dark_figures_and_remembers_who_asked_for_it(browser, site):
    def shown() -> list[str]:
        return [image.get_attribute("src").rsplit("/", 1)[1] for image in browser.execute_script(SEEN, "#f-miou img")]

    visit(browser, site / "index.html")
    assert shown() == ["miou.png"]
    browser.find_element("css selector", ".theme").click()
    assert shown() == ["miou.dark.png"]
    with Image.open(site / "figures" / "miou.dark.png") as figure:
        assert "#{:02x}{:02x}{:02x}".format(*figure.convert("RGB").getpixel((0, 0))) == PAPER
    visit(browser, site / "provenance.html")
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    browser.find_element("css selector", ".theme").click()
    visit(browser, site / "index.html", scheme="dark")
    assert shown() == ["miou.png"], "light was asked for"
    browser.execute_script("localStorage.clear()")
    visit(browser, site / "index.html", scheme="dark")
    assert shown() == ["miou.dark.png"]
    [light] = browser.execute_script(SEEN, "#f-pairs img")  # a run without dark figures shows its light ones
    ground = "return getComputedStyle(arguments[0].parentElement).backgroundColor"
    assert browser.execute_script(ground, light) == "rgb(255, 255, 255)"


def test_paper_gets_the_figures_and_the_results_on_fewer_than_fifteen_pages(browser, site):
    visit(browser, site / "index.html", scheme="dark")
    pages = {}
    for media, name in (("", "folded"), ("print", "shown")):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
        found = browser.execute_script(SEEN, "details.table, figure")
        pages[name] = [element.get_attribute("id") for element in found]
    tables = [name for name in pages["shown"] if name.startswith("t-")]
    assert tables == ["t-results"]
    assert [name for name in pages["folded"] if name.startswith("f-")] == [
        n for n in pages["shown"] if n.startswith("f-")
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    count = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 2 < count < 15


def panel(browser, number: int) -> Image.Image:
    """What a canvas of the explorer holds."""
    address = browser.execute_script(
        "return document.querySelectorAll('.stage canvas')[arguments[0]].toDataURL()", number
    )
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")


def choose(browser, number: int, value: str) -> str:
    """Set what a panel shows; returns what the page says of it."""
    view = browser.find_elements("css selector", ".view")[number]
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
    browser.execute_script(script, view.find_element("css selector", ".what"), value)
    return view.find_element("css selector", ".told").text


def test_the_explorer_draws_the_labels_of_a_method_in_the_colours_of_the_figures(browser, site):
    visit(browser, site / "explorer.html")
    entry = json.loads((site / "data" / "explorer.json").read_text())[0]
    method = entry["methods"][1]
    told = choose(browser, 0, "labels:1")
    right = sum(a == b for a, b in zip(method["classes"], entry["truth"], strict=True)) / len(entry["truth"])
    assert told.startswith(f"{100 * right:.0f} % of the patches right")
    image, columns = panel(browser, 1), entry["grid"][1]
    for number, label in enumerate(method["classes"]):
        pixel = image.getpixel((number % columns * 40 + 20, number // columns * 40 + 20))
        assert "#{:02x}{:02x}{:02x}".format(*pixel) == entry["colours"][label]


def test_the_explorer_shows_where_the_classes_really_meet(browser, site):
    visit(browser, site / "explorer.html")
    entry = json.loads((site / "data" / "explorer.json").read_text())[0]
    labels = ovss.load_dataset("scenes")[0].labels
    lines = Image.open(io.BytesIO(base64.b64decode(entry["outlines"].partition(",")[2]))).getchannel("A")
    side = lines.width / labels.shape[1]
    for row, column in ((10, 10), (48, 30), (70, 80)):
        around = labels[row - 1 : row + 2, column - 1 : column + 2]
        drawn = lines.crop(
            (int((column - 1) * side), int((row - 1) * side), int((column + 2) * side), int((row + 2) * side))
        )
        assert (drawn.getextrema()[1] > 0) == (len(set(around.ravel().tolist())) > 1)
    assert len(browser.execute_script(SEEN, ".stage .truth")) == 4
    browser.find_element("id", "outlines").click()
    assert browser.execute_script(SEEN, ".stage .truth") == []


def test_an_address_of_the_explorer_leads_to_the_image_and_the_patch_it_names(browser, site):
    visit(browser, site / "explorer.html", anchor="#2-4-3")
    words, image = browser.execute_script(STATE)
    assert words.startswith("Patch row 4 of 8, column 3 of 8")
    assert image == "1"
    browser.find_element("id", "stage").send_keys("\ue014")
    assert browser.current_url.endswith("#2-4-4")
    browser.execute_script("location.hash = '#1-1-1'")
    assert browser.execute_script(STATE)[0].startswith("Patch row 1 of 8, column 1 of 8")
    for wrong in ("#9-1-1", "#1-9-1", "#1-0-1", "#main", "#1-1-1<b>"):
        visit(browser, site / "explorer.html", anchor=wrong)
        assert browser.execute_script(STATE)[0].startswith("Patch row 5 of 8"), wrong
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
