"""`ovss app`: the playground on a local page."""

import argparse
import socket
import tempfile
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ovss.app import HOST
from ovss.cli.common import add_model_arguments, backbone_from, described, model_options, note_to_stderr, show
from ovss.errors import InputError

__all__ = ["add_command"]


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
            probe.bind((HOST, wanted))
        except OSError as error:
            raise InputError(f"port {wanted} on {HOST} cannot be used: {error.strerror}; leave out --port") from error
        return probe.getsockname()[1]


def _serve(folder: Path, arguments: argparse.Namespace, port: int) -> None:
    from ovss.app.server import serve

    source = (
        "from ovss import load_backbone\nfrom ovss.app.playground import Playground\n"
        f"backbone = load_backbone(**{model_options(arguments)!r})\n"
        f"Playground(backbone, {arguments.protocol!r}).view"
    )
    serve(folder, source, port, lambda address: _announce(address, folder, arguments.no_browser))


def _announce(address: str, folder: Path, quiet: bool) -> None:
    note_to_stderr("the playground runs until Ctrl-C at")
    show(address)
    if not quiet:
        # A page that leads there keeps the token out of the browser's arguments.
        door = folder / "open.html"
        door.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
        webbrowser.open(door.as_uri())
