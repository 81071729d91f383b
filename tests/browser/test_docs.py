"""The documentation builds without a warning, its links lead somewhere, and a browser can use it without a network."""

import subprocess
import sys

import check_links
import pytest
from paths import ROOT
from site_helpers import open_browser, overflowing, requests_of, set_viewport, until, violations

pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
PAGES = (
    "index.html",
    "howto/rows.html",
    "models.html",
    "pages/methods/naclip.html",
    "pages/walkthroughs/04_naclip.html",
    "pages/api/segment.html",
    "pages/protocols.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "2"]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of this file."""
    browser = open_browser()
    yield browser
    browser.quit()


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_another_host(site):
    assert check_links.faults(site) == []


def test_names_that_the_package_offers_are_documented(site):
    text = (site / "pages" / "api" / "segment.html").read_text(encoding="utf-8")
    assert 'id="ovss.segment.Segmenter"' in text
    assert 'id="ovss.evaluation.evaluate"' in (site / "pages" / "api" / "evaluation.html").read_text(encoding="utf-8")


def test_a_walkthrough_has_its_outputs_and_formulas(site):
    page = (site / "pages" / "walkthroughs" / "04_naclip.html").read_text(encoding="utf-8")
    assert "8 x 8 patches" in page
    assert "<img" in page
    assert page.count("<math") > 5
    assert r"\Omega" not in page


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_is_quiet_and_asks_no_other_host(site, browser, name, width):
    browser.get_log("browser")
    requests_of(browser)
    set_viewport(browser, width)
    browser.get((site / name).as_uri())
    assert overflowing(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert [address for address in requests_of(browser) if not address.startswith("file://")] == []


@pytest.mark.parametrize("width", [390, 1440])
def test_the_search_finds_a_method_by_its_name(site, browser, width):
    set_viewport(browser, width)
    browser.get((site / "search.html").as_uri() + "?q=naclip")
    links = "return [...document.querySelectorAll('#search-results li a')].map((a) => a.getAttribute('href'))"
    found = until(lambda: browser.execute_script(links), "results of the search", 30)
    assert any("pages/methods/naclip.html" in address for address in found)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(site, browser, name):
    set_viewport(browser, 1440)
    browser.get((site / name).as_uri())
    assert violations(browser) == []
