"""`ovss app` in a real browser: guarded by its token, quiet, and its downloads are the Segmenter's masks."""

import base64
import importlib
import io
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from site_helpers import WAIT, open_browser, overflowing, requests_of, set_viewport, until, violations

import ovss

pytest.importorskip("voila", reason="voila is not installed")
CONTROL = "\ue009"
KEEP_INPUTS = """
const make = document.createElement.bind(document);
window.madeInputs = [];
document.createElement = (name, ...rest) => {
    const made = make(name, ...rest);
    if (name === "input") window.madeInputs.push(made);
    return made;
};
"""
"""Lets the test reach the upload's file input, which the widget keeps out of the page."""
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    opened = open_browser()
    opened.set_page_load_timeout(WAIT)
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def address(browser: Any) -> Iterator[str]:
    command = [sys.executable, "-m", "ovss", "app", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Any:
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(address.split("?")[0] + "api/kernels/00000000-0000-0000-0000-000000000000", timeout=60)
    refused.value.close()
    browser.get(address.split("?")[0])
    assert "/login" in browser.current_url
    assert not browser.find_elements("css selector", ".ovss-app")
    browser.get_log("browser")
    requests_of(browser)
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": KEEP_INPUTS})
    set_viewport(browser, 1440)
    browser.get(address)
    until(lambda: "is ready" in status(browser), "drawing of the page")
    return browser


def status(browser: Any) -> str:
    """The status line, read in one step, for the page replaces it."""
    return browser.execute_script("return document.querySelector('.ovss-app [role=status]')?.textContent ?? ''")


def choose(browser: Any, *methods: str) -> None:
    """Click the methods in the list, further ones with the Control key."""
    chain = importlib.import_module("selenium.webdriver").ActionChains(browser)
    for number, method in enumerate(methods):
        option = browser.find_element("xpath", f"//option[normalize-space()='{method}']")
        browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", option)
        chain = chain.key_down(CONTROL).click(option).key_up(CONTROL) if number else chain.click(option)
        chain.perform()
    chosen = "return [...document.querySelectorAll('.ovss-app select option:checked')].map(e => e.textContent.trim())"
    assert browser.execute_script(chosen) == list(methods)


def run(browser: Any, words: str) -> None:
    field = browser.find_element("css selector", ".ovss-app input[type=text]")
    field.send_keys(CONTROL, "a", "\ue000")
    field.send_keys(words)
    button = browser.find_element("xpath", "//button[contains(., 'Run')]")
    until(button.is_enabled, "the end of the run before")  # the page says Done a moment before it takes the next click
    button.click()


def masks(browser: Any) -> dict[str, np.ndarray]:
    links = browser.find_elements("css selector", ".ovss-app a[download$='_mask.png']")
    data = {link.get_attribute("download"): link.get_attribute("href").split(",", 1)[1] for link in links}
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for name, text in data.items()}


def upload(browser: Any, file: Path) -> None:
    browser.execute_script(
        "const file = window.madeInputs.findLast(e => e.type === 'file'); file.id = 'kept'; document.body.append(file);"
    )
    browser.find_element("id", "kept").send_keys(str(file))
    until(lambda: status(browser).startswith((f"{file.name} is ready", "Error:")), "the upload")
    browser.execute_script("document.getElementById('kept').remove()")


def test_the_token_does_not_stay_in_the_address(page: Any, address: str) -> None:
    assert page.current_url == address.split("?")[0]


def test_no_markup_becomes_a_script(page: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror='window.pwned = 1'>.png"
    ovss.load_dataset("scenes")[4].image.save(tmp_path / name)
    upload(page, tmp_path / name)
    assert name in page.find_element("css selector", ".ovss-app figcaption").text
    (tmp_path / "bad.png").write_bytes(b"no image")
    upload(page, tmp_path / "bad.png")
    assert status(page).startswith("Error: 'bad.png' is not a PNG or JPEG image")
    # Where markup should get through nevertheless, the page's policy keeps it from running.
    page.execute_script(
        "const box = document.createElement('div'); box.innerHTML = `<img src=x onerror='window.pwned = 2'>`;"
        "document.body.append(box); const code = document.createElement('div');"
        "code.innerHTML = `<iframe srcdoc='<script>parent.pwned = 3</script>'></iframe>`; document.body.append(code);"
        "setTimeout(() => { box.remove(); code.remove(); }, 900)"
    )
    time.sleep(1)
    assert page.execute_script("return window.pwned") is None
    page.get_log("browser")  # holds the browser's complaints about the two


def test_the_page_works_by_clicks_and_its_masks_are_the_segmenters(page: Any, tmp_path: Path) -> None:
    picture = ovss.load_dataset("scenes")[3].image
    picture.save(tmp_path / "mine.png")
    upload(page, tmp_path / "mine.png")
    choose(page, "maskclip", "naclip")
    run(page, "scenes")
    until(lambda: status(page).startswith("Done: mine.png, 2 methods"), "the result")
    found = masks(page)
    assert list(found) == ["mine_maskclip_mask.png", "mine_naclip_mask.png"]
    backbone = ovss.load_backbone("tiny")
    for method, mask in zip(("maskclip", "naclip"), found.values(), strict=True):
        assert np.array_equal(mask, ovss.Segmenter(backbone, method, "scenes")(picture).labels)


def test_words_appear_as_text(page: Any) -> None:
    run(page, "<b>bold</b>; sky")
    until(lambda: "never seen" in status(page), "the result")
    assert "<b>bold</b>" in page.find_element("css selector", ".ovss-app").text


def test_bad_words_are_a_message(page: Any) -> None:
    run(page, "sky;;grass")
    until(lambda: status(page).startswith("Error:"), "the message")


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_sticks_out_of_the_page(page: Any, width: int) -> None:
    run(page, "sky; grass; ball")
    until(lambda: status(page).startswith("Done"), "the result")
    set_viewport(page, width)
    time.sleep(1)
    assert overflowing(page) == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_page_is_quiet_and_asks_no_other_host(page: Any, address: str) -> None:
    bad = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert bad == []
    host = address.split("?")[0]
    asked = [url for url in requests_of(page) if not url.startswith((host, host.replace("http", "ws", 1)))]
    assert asked == []


def test_axe_finds_nothing_serious(page: Any) -> None:
    assert violations(page) == []
