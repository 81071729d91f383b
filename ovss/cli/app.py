"""`ovss app`: the playground on a local page."""

import argparse
import logging
import secrets
import shutil
import socket
import tempfile
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ovss.cli.common import add_model_arguments, backbone_from, described, model_options, note_to_stderr, show
from ovss.errors import InputError

__all__ = ["add_command"]

_HOST = "127.0.0.1"
_MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message from the page in bytes; an upload is one message."""
_TEMPLATE = """{%- extends "voila/templates/lab/index.html.j2" -%}
{%- block notebook_css -%}
{%- set links %}{{ super() }}{% endset -%}
{%- for line in links.splitlines() if 'href="https:' not in line %}{{ line | safe }}
{% endfor -%}
{%- endblock notebook_css -%}
"""
"""Voila's page without the style sheets that it asks other hosts for."""


def add_command(commands: Any) -> None:
    """Add `app`."""
    parser = commands.add_parser("app", **described("try your image and words on a local page"))
    parser.add_argument("--protocol", help="see 'ovss list protocols' (default: window224; study for tiny)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    add_model_arguments(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM; returns 0."""
    if find_spec("voila") is None:
        raise InputError("the playground needs Voila: pip install 'ovss[app]'")
    port = _port(arguments.port)
    from ovss.segment import resolve_protocol

    resolve_protocol(arguments.protocol, backbone_from(arguments))
    with tempfile.TemporaryDirectory(prefix="ovss-app-") as folder:
        _serve(Path(folder), arguments, port)
    return 0


def _port(wanted: int) -> int:
    if not 0 <= wanted <= 65535:
        raise InputError(f"--port {wanted} is not a port; give 1 to 65535, or 0 for a free one")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, wanted))
        except OSError as error:
            raise InputError(f"port {wanted} on {_HOST} cannot be used: {error.strerror}; leave out --port") from error
        return probe.getsockname()[1]


def _serve(folder: Path, arguments: argparse.Namespace, port: int) -> None:
    import nbformat
    from jupyter_core.utils import run_sync
    from jupyter_server import DEFAULT_STATIC_FILES_PATH
    from nbformat.v4 import new_code_cell, new_notebook
    from tornado.ioloop import IOLoop
    from voila.app import Voila

    class Server(Voila):
        """Voila that ends its kernels at once: one asked to end while it starts would print a traceback."""

        def stop(self) -> None:
            run_sync(self.kernel_manager.shutdown_all)(now=True)
            shutil.rmtree(self.connection_dir, ignore_errors=True)

    for name in ("access", "general", "application"):
        logging.getLogger(f"tornado.{name}").setLevel(logging.ERROR)  # its lines on refusals show addresses
    source = (
        "from ovss import load_backbone\nfrom ovss.app.playground import Playground\n"
        f"backbone = load_backbone(**{model_options(arguments)!r})\n"
        f"Playground(backbone, {arguments.protocol!r}).view"
    )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    page = folder / "playground.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata={"kernelspec": kernel}), page)
    token = secrets.token_urlsafe(32)
    (folder / "index.html.j2").write_text(_TEMPLATE, encoding="utf-8")
    app = Server(notebook_path=str(page), log_level="ERROR")
    app.initialize([])
    # Set after the configuration files were read, so that none of them binds elsewhere or drops the token.
    app.ip, app.port, app.port_retries, app.open_browser = _HOST, port, 0, False
    app.token, app.connection_dir_root = token, str(folder)
    app.template_paths.insert(0, str(folder))
    app.tornado_settings = {"websocket_max_message_size": _MAX_MESSAGE_BYTES, "static_path": DEFAULT_STATIC_FILES_PATH}
    IOLoop.current().add_callback(_announce, f"http://{_HOST}:{port}/?token={token}", folder, arguments.no_browser)
    app.start()


def _announce(address: str, folder: Path, quiet: bool) -> None:
    note_to_stderr("the playground runs until Ctrl-C at")
    show(address)
    if not quiet:
        # A page that leads there keeps the token out of the browser's arguments.
        door = folder / "open.html"
        door.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
        webbrowser.open(door.as_uri())
