"""The playground: what it shows is what the Segmenter says, and nothing a user types becomes markup."""

import base64
import io
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ovss
from ovss import InputError
from ovss.app.playground import Playground, read_upload, safe_stem, segment_all
from ovss.cli import main


@pytest.fixture(scope="module")
def backbone() -> Any:
    return ovss.load_backbone("tiny")


@pytest.fixture
def page(backbone: Any) -> Playground:
    return Playground(backbone)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 64), "green").save(buffer, format="PNG")
    return buffer.getvalue()


def test_masks_are_those_of_the_segmenter_and_come_from_one_pass(page, backbone, monkeypatch):
    passes = []
    encode = type(backbone).encode_tokens
    monkeypatch.setattr(
        type(backbone), "encode_tokens", lambda self, *a, **k: passes.append(1) or encode(self, *a, **k)
    )
    segment_all(backbone, page.image, "scenes", ["naclip"])
    single = len(passes)
    page.words.value = "scenes"
    page.run()
    assert len(passes) == 2 * single
    links = re.findall(r'download="([^"]+_mask\.png)" href="data:image/png;base64,([^"]+)"', page.results.value)
    assert [name for name, _ in links] == [f"example_{m}_mask.png" for m in ("clip", "maskclip", "naclip")]
    for method, (_, data) in zip(page.methods.value, links, strict=True):
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert np.array_equal(mask, ovss.Segmenter(backbone, method, "scenes")(page.image).labels)


@pytest.mark.filterwarnings("ignore:tiny has never seen")
def test_words_are_text(page):
    page.words.value = "<script>alert(1)</script>, sky"
    page.run()
    for shown in (page.results.value, page.status.value):
        assert "<script" not in shown
    assert "&lt;script&gt;" in page.results.value


@pytest.mark.parametrize("words", ["", "cat;;dog", "cat; cat"])
def test_bad_words_are_a_message(page, words):
    page.words.value = words
    page.run()
    assert "Error:" in page.status.value
    assert not page.button.disabled


def test_words_never_name_a_file(backbone, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("grass\nwater\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="never seen"):
        found = segment_all(backbone, page.image, "words.txt", ["naclip"])
    assert found[0].classes == ("words.txt",)


@pytest.mark.parametrize("content", [b"no image", png()[:60], b"GIF89a"])
def test_a_bad_file_is_named_and_the_old_image_stays(page, content):
    page._uploaded({"new": ({"name": "<b>.png", "content": memoryview(content)},)})
    assert "&lt;b&gt;.png" in page.status.value
    assert "Error:" in page.status.value
    assert page.name == "example.png"


def test_a_too_large_image_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"large\.png"):
        read_upload("large.png", png())


def test_an_upload_replaces_the_image(page):
    page._uploaded({"new": ({"name": "a b.png", "content": memoryview(png())},)})
    assert page.image.size == (80, 64)
    assert safe_stem("../<x> y.png") == "x-y"


def test_a_busy_port_is_a_clear_error(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_without_voila_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("ovss.cli.app.find_spec", lambda name: None)
    assert main(["app"]) == 2
    assert "pip install 'ovss[app]'" in capsys.readouterr().err


def status_of(address: str) -> int:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        return urllib.request.build_opener(Stay).open(address, timeout=60).status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_server_refuses_without_the_token_and_ends_quietly(stop):
    pytest.importorskip("voila", reason="voila is not installed")
    command = [sys.executable, "-m", "ovss", "app", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        base = address.split("?")[0]
        kernel = "api/kernels/00000000-0000-0000-0000-000000000000"
        for path in ("", "?token=wrong", kernel, f"{kernel}/channels", "voila/files/playground.ipynb"):
            assert status_of(base + path) in (302, 403), path
        if stop is signal.SIGTERM:
            assert status_of(address) == 200
        server.send_signal(stop)
        _, errors = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "Traceback" not in errors
