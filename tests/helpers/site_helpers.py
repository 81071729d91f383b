"""A real browser for tests of pages: Chromium without a window, with its console and its network in view."""

import json
import shutil
import time
from typing import Any

import pytest
from paths import TESTS

AXE = TESTS / "browser" / "node_modules" / "axe-core" / "axe.min.js"
WAIT = 120
"""Seconds that a page may take for what is asked of it."""


def open_browser(width: int = 1440, height: int = 1000):
    """Chromium at a window size; skips the test where Chromium, its driver or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(300)
    return browser


def set_viewport(browser, width: int, height: int = 1000) -> None:
    """Give the page a width that a window cannot have."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests_of(browser) -> list[str]:
    """Addresses that the pages asked for since the last call, but for those inside a page."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [address for address in found if not address.startswith(("data:", "about:", "blob:"))]


def overflowing(browser) -> list[str]:
    """Elements that stick out of the page to the right and are not inside something that scrolls."""
    return browser.execute_script("""
        const wide = document.documentElement.clientWidth + 1;
        const scrolls = (e) => { for (e = e.parentElement; e; e = e.parentElement) {
            if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true; } return false; };
        return [...document.body.querySelectorAll("*")]
            .filter((e) => e.getBoundingClientRect().right > wide && e.getClientRects().length && !scrolls(e))
            .map((e) => e.outerHTML.slice(0, 120));
    """)


def violations(browser) -> list[str]:
    """Serious and critical findings of axe-core; skips where it is not installed."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed (npm install --prefix tests/browser --no-save axe-core)")
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    result = browser.execute_async_script("const done = arguments[0]; axe.run().then(done);")
    return [
        f"{finding['id']}: {finding['help']}: {finding['nodes'][0]['html'][:160]}"
        for finding in result["violations"]
        if finding["impact"] in ("serious", "critical")
    ]


def until(condition: Any, what: str, seconds: float = WAIT) -> Any:
    """The first true value of a condition; fails the test when none comes in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    pytest.fail(f"{what} did not happen within {seconds} s")
