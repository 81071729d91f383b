"""The playground: what it shows is what the Segmenter says, and nothing a user types becomes markup."""

import base64
import io
import logging
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
import psutil
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


def answer_of(address: str, **headers: str) -> tuple[int, Any, str]:
    """Status, headers and text of what the server answers, redirections not followed."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    request = urllib.request.Request(
        address, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def status_of(address: str, **headers: str) -> int:
    return answer_of(address, **headers)[0]


@pytest.fixture
def server():
    pytest.importorskip("voila", reason="voila is not installed")
    command = [sys.executable, "-m", "ovss", "app", "--no-browser"]
    # A test run in the background of a shell hands on that SIGINT is ignored.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_server_answers_this_machine_alone_and_keeps_its_token_to_itself(server):
    address = server.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    base, token = address.split("?token=")
    kernel = f"{base}api/kernels/00000000-0000-0000-0000-000000000000"
    for path in (base, f"{base}?token=wrong", kernel, f"{kernel}/channels", f"{base}voila/files/playground.ipynb"):
        assert status_of(path) in (302, 403), path
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    for path, more in ((address, {}), (f"{kernel}?token={token}", {}), (f"{kernel}/channels?token={token}", upgrade)):
        assert status_of(path, Host="rebound.example", **more) == 403, "a foreign page may have that name lead here"
    assert status_of(f"{kernel}?token={token}") == 404

    status, headers, _ = answer_of(address)
    assert (status, headers["Location"]) == (302, "/"), "the token stays in the address"
    cookie = "; ".join(line.split(";")[0] for line in headers.get_all("Set-Cookie"))
    status, headers, text = answer_of(base, Cookie=cookie)
    assert status == 200
    rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    nonce = re.search(r"'nonce-([^']+)'", rules["script-src"]).group(1)
    assert "unsafe-inline" not in rules["script-src"]
    assert rules["default-src"] == "'self'"
    assert text.count("<script") == text.count(f'<script nonce="{nonce}"') > 3
    assert re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|import\(["']https?:|url\(["']?https?:""", text) == []
    assert f"'nonce-{nonce}'" not in answer_of(f"{base}login")[1]["Content-Security-Policy"]

    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) > 1, "no kernel runs"
    assert not [process for process in family if token in "\0".join([*process.environ().values(), *process.cmdline()])]
    pids = {process.pid for process in family}
    listening = [link for link in psutil.net_connections("inet") if link.pid in pids and link.status == "LISTEN"]
    assert {link.laddr.ip for link in listening} == {"127.0.0.1"}
    server.send_signal(signal.SIGTERM)
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "Traceback" not in errors
    assert token not in errors


@pytest.mark.slow
def test_the_server_ends_quietly_by_ctrl_c(server):
    assert server.stdout.readline().startswith("http://127.0.0.1:")
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "Traceback" not in errors


def test_the_token_is_taken_out_of_log_lines(caplog):
    pytest.importorskip("voila", reason="voila is not installed")
    from ovss.app.server import _WithoutToken

    log = logging.getLogger("test-of-the-token")
    log.addFilter(_WithoutToken("s3cret"))
    log.error("500 GET /?token=%s (127.0.0.1)", "s3cret")
    assert caplog.messages == ["500 GET /?token=[token] (127.0.0.1)"]


def test_the_name_of_an_image_is_text(page, backbone):
    name = '<img src=x onerror="alert(1)">.png'
    page._uploaded({"new": ({"name": name, "content": memoryview(png())},)})
    shown = [page.results.value, page.status.value]
    page.words.value, page.methods.value = "sky", ("clip",)
    page.run()
    for text in (*shown, page.results.value, page.status.value):
        assert 'onerror="' not in text
        assert "<img src=x" not in text
    assert "&lt;img src=x" in shown[0]
