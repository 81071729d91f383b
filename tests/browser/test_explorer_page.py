"""The explorer in a real browser: a click on a patch changes the maps on the page."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from site_helpers import WAIT, open_browser, until
from walkthroughs import METADATA, write

pytest.importorskip("voila", reason="voila is not installed")
SOURCE = """
import numpy as np
import ovss
from ovss.scenes.scenes import scene
ovss.explore_attention(ovss.load_backbone("tiny"), scene("test", 10).image, methods=["clip", "naclip"])
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    opened = open_browser(1200, 900)
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("explorer")
    write(
        new_notebook(cells=[new_code_cell(SOURCE.strip(), id="explorer")], metadata=METADATA), folder / "explorer.ipynb"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "voila", "explorer.ipynb", "--no-browser", f"--port={port}"]
    environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "OMP_NUM_THREADS": "2"}
    with (folder / "voila.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--Voila.ip=127.0.0.1"],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        until(lambda: listening(port, server, folder / "voila.log"), "voila's start")
        browser.set_page_load_timeout(WAIT)
        browser.get(f"http://127.0.0.1:{port}/")
        until(lambda: len(patches(browser)) == 64 and len(maps(browser)) == 2, "drawing of the explorer")
        yield browser
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def listening(port: int, server: Any, log: Path) -> bool:
    if server.poll() is not None:
        pytest.fail(f"voila ended: {log.read_text()[-2000:]}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def patches(browser: Any) -> list[Any]:
    return browser.find_elements("css selector", ".ovss-explorer .widget-gridbox button")


def maps(browser: Any) -> list[Any]:
    return browser.find_elements("css selector", ".ovss-explorer img.ovss-map")


def shown(browser: Any) -> list[str]:
    """The maps' pixels, one data URL each; empty while a map is being replaced.

    Read from a canvas in one step: a widget's image lies behind a blob address that is withdrawn
    with the next image, so fetching that address later may never answer.
    """
    script = """
    return [...document.querySelectorAll(".ovss-explorer img.ovss-map")].map(image => {
        if (!image.complete || !image.naturalWidth) return "";
        const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL();
    });
    """
    return browser.execute_script(script)


def drawn(browser: Any) -> list[str]:
    return until(lambda: (found := shown(browser)) and all(found) and found, "drawing of the maps")


def test_a_click_marks_the_patch_and_changes_both_maps(page: Any) -> None:
    before = drawn(page)
    assert before[0] != before[1]
    patches(page)[3].click()
    until(lambda: patches(page)[3].text == "x", "the mark on the clicked patch")
    assert [patch.text.strip() for patch in patches(page)].count("x") == 1
    until(
        lambda: all(new and old != new for old, new in zip(before, shown(page), strict=True)), "the change of the maps"
    )


def test_another_head_changes_the_maps(page: Any) -> None:
    before = drawn(page)
    select = page.find_element("css selector", ".ovss-explorer select")
    select.find_elements("tag name", "option")[1].click()
    until(lambda: before[0] != drawn(page)[0], "the change of the map")


def test_captions_name_the_methods(page: Any) -> None:
    text = page.find_element("css selector", ".ovss-explorer").text
    assert "clip" in text
    assert "naclip" in text
