"""The report in a real browser: quiet console, no network, tables that sort and filter, an explorer that answers."""

from pathlib import Path

import pytest
from site_helpers import open_browser, overflowing, requests_of, set_viewport, violations

SITE = Path(__file__).resolve().parents[2] / "reports" / "tiny"
PAGES = ("index.html", "provenance.html", "explorer.html", "notebooks/22_benchmark_table.html")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="reports/tiny is not there; run 'make reference'"),
]


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of this file."""
    browser = open_browser()
    yield browser
    browser.quit()


def visit(browser, name: str, width: int = 1440) -> None:
    set_viewport(browser, width)
    browser.get((SITE / name).as_uri())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_without_errors_and_without_the_network(browser, name):
    browser.get_log("browser")
    requests_of(browser)
    visit(browser, name)
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    asked = requests_of(browser)
    assert any(address.endswith(name) for address in asked)
    assert [address for address in asked if not address.startswith("file://")] == []


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_of_the_page(browser, name, width):
    visit(browser, name, width)
    assert overflowing(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(browser, name, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    visit(browser, name)
    assert violations(browser) == []


def column(browser, table: str, heading: str) -> list[str]:
    """Texts of a column's visible cells."""
    return browser.execute_script(
        """
        const table = document.getElementById(arguments[0]);
        const names = [...table.querySelectorAll("thead th")].map((th) => th.textContent);
        const at = names.indexOf(arguments[1]);
        return [...table.querySelectorAll("tbody tr")].filter((row) => !row.hidden)
            .map((row) => row.cells[at].dataset.key ?? row.cells[at].textContent.toLowerCase());
        """,
        table,
        heading,
    )


def click_heading(browser, table: str, heading: str) -> None:
    path = f"//*[@id='{table}']//thead//button[text()='{heading}']"
    browser.execute_script("arguments[0].click()", browser.find_element("xpath", path))


def test_a_table_sorts_by_number_and_by_name_both_ways(browser):
    visit(browser, "index.html")
    click_heading(browser, "t-results", "mIoU")
    down = [float(key) for key in column(browser, "t-results", "mIoU")]
    assert down == sorted(down, reverse=True)
    click_heading(browser, "t-results", "mIoU")
    assert [float(key) for key in column(browser, "t-results", "mIoU")] == sorted(down)
    click_heading(browser, "t-results", "method")
    names = column(browser, "t-results", "method")
    assert names == sorted(names)
    state = browser.find_element("css selector", "#t-results th[aria-sort]")
    assert state.text.startswith("method")
    assert state.get_attribute("aria-sort") == "ascending"


def test_a_filter_keeps_the_rows_it_names_and_counts_them(browser):
    visit(browser, "index.html")
    total = len(column(browser, "t-results", "method"))
    select = browser.find_element("xpath", "//*[@id='t-results']//label[contains(., 'method')]//select")
    select.send_keys("naclip")
    assert column(browser, "t-results", "method") == ["naclip"]
    assert browser.find_element("css selector", "#t-results .count").text == f"1 of {total} rows"
    browser.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('change'))", select)
    assert len(column(browser, "t-results", "method")) == total


def test_a_number_leads_to_what_produced_it(browser):
    visit(browser, "index.html")
    link = browser.find_element("css selector", "#t-results td.number a")
    browser.execute_script("arguments[0].click()", link)
    assert "provenance.html#p-" in browser.current_url
    entry = browser.find_element("css selector", ".entry:target")
    assert "weights hash" in browser.find_element("tag name", "main").text
    assert entry.is_displayed()


def test_the_theme_button_switches_and_says_what_it_does(browser):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    visit(browser, "index.html")
    button = browser.find_element("css selector", ".theme")
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(paper)
    assert button.text == "Dark"
    button.click()
    assert browser.execute_script(paper) != before
    assert button.text == "Light"


def pixels(browser, panel: int) -> str:
    """What a panel of the explorer shows, as a data address."""
    return browser.execute_script("return document.querySelectorAll('.stage canvas')[arguments[0]].toDataURL()", panel)


def test_the_explorer_answers_to_clicks_and_keys(browser):
    visit(browser, "explorer.html")
    status = browser.find_element("css selector", ".state")
    first, words = pixels(browser, 1), status.text
    stage = browser.find_element("id", "stage")
    browser.execute_script(
        """
        const box = arguments[0].getBoundingClientRect();
        const place = {clientX: box.left + 3, clientY: box.top + 3, bubbles: true};
        arguments[0].dispatchEvent(new MouseEvent("click", place));
        """,
        stage,
    )
    assert status.text.startswith("Patch row 1 of")
    assert "column 1 of" in status.text
    assert status.text != words
    assert pixels(browser, 1) != first
    stage.send_keys("\ue014")
    assert "column 2 of" in status.text
    stage.send_keys("\ue012", "\ue012")
    assert "column 1 of" in status.text


def test_the_explorer_switches_block_head_method_and_image(browser):
    visit(browser, "explorer.html")
    panel = browser.find_element("css selector", ".view")
    seen = {pixels(browser, 1)}
    for css, value in ((".what", "attention:1"), (".which", "0"), (".what", "method:2")):
        select = panel.find_element("css selector", css)
        browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))", select, value
        )
        seen.add(pixels(browser, 1))
    second = browser.find_elements("css selector", ".pick")[1]
    second.click()
    seen.add(pixels(browser, 1))
    assert len(seen) == 5
    assert second.get_attribute("aria-pressed") == "true"
    told = panel.find_element("css selector", ".told").text
    assert "Mean cosine" in told


def test_a_printed_page_shows_the_whole_table(browser):
    visit(browser, "index.html")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    scroll = browser.find_element("css selector", "#t-results .scroll")
    inside = "return [arguments[0].scrollHeight, arguments[0].clientHeight]"
    whole, shown = browser.execute_script(inside, scroll)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert whole <= shown + 1
