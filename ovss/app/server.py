"""The server of the playground: one page on this machine alone, guarded by a token, which asks no other host."""

import logging
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import nbformat
from jupyter_core.utils import run_sync
from jupyter_server import DEFAULT_STATIC_FILES_PATH
from nbformat.v4 import new_code_cell, new_notebook
from tornado.ioloop import IOLoop
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler

from ovss.app import HOST

__all__ = ["serve"]

_MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message from the page in bytes; an upload is one message."""
_ALLOWED = {
    "default-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "style-src": "'self' 'unsafe-inline'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
"""What a page of the server may load. Widgets set styles in their elements, which no nonce can allow."""
_TEMPLATE = """{%- extends "voila/templates/lab/index.html.j2" -%}
{%- block notebook_css -%}
{%- set links %}{{ super() }}{% endset -%}
{%- for line in links.splitlines() if 'href="https:' not in line %}{{ line | safe }}
{% endfor -%}
{%- endblock notebook_css -%}
{%- block html_head_js_requirejs -%}{%- endblock html_head_js_requirejs -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
"""
"""Voila's page without the style sheets and scripts that it asks other hosts for."""
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def policy(script: str = "'self'") -> str:
    """The content security policy of a page.

    Args:
        script: Sources of scripts.
    """
    return "; ".join(f"{name} {value}" for name, value in (_ALLOWED | {"script-src": script}).items())


class _Page(TornadoVoilaHandler):
    """The page. Its scripts carry a nonce, so that no markup that reaches it by another way is run as one."""

    @property
    def content_security_policy(self) -> str:
        return policy(f"'self' 'nonce-{self._nonce}'")

    @property
    def _nonce(self) -> str:
        if not hasattr(self, "_drawn"):
            self._drawn = secrets.token_urlsafe(16)
        return self._drawn

    def write(self, chunk: Any) -> None:
        """Outputs of cells stand in the page as JSON, without a '<'; every script in it is the template's."""
        if isinstance(chunk, str):
            chunk = re.sub(r"<script\b", f'<script nonce="{self._nonce}"', chunk)
        super().write(chunk)

    async def prepare(self, **options: Any) -> None:  # type: ignore[override]
        """Take the token out of the address before anything else, so that neither kernel nor browser keeps it."""
        await super().prepare(**options)
        if self.current_user is not None and self.request.query and not self._finished:
            self.redirect(self.request.path)


class _Server(Voila):
    """Voila with that page. It ends kernels at once: one asked to end while it starts prints a traceback."""

    def init_handlers(self) -> list[Any]:
        """As Voila's, with that page."""
        handlers = cast("list[Any]", super().init_handlers())
        return [(path, _Page if kind is TornadoVoilaHandler else kind, *rest) for path, kind, *rest in handlers]

    def stop(self) -> None:
        run_sync(self.kernel_manager.shutdown_all)(now=True)
        shutil.rmtree(self.connection_dir, ignore_errors=True)


class _WithoutToken(logging.Filter):
    """Takes the token out of what is logged."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self.token, "[token]"), ()
        return True


def serve(folder: Path, source: str, port: int, announce: Callable[[str], object]) -> None:
    """Serve a page made by a cell until Ctrl-C or SIGTERM.

    Args:
        folder: Holds what the server needs while it runs; empty.
        source: The cell; its last line is the widget that is shown.
        port: A free port.
        announce: Called with the address, token included, once the page can be asked for.
    """
    page = folder / "playground.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata={"kernelspec": _KERNEL}), page)
    token = secrets.token_urlsafe(32)
    (folder / "index.html.j2").write_text(_TEMPLATE, encoding="utf-8")
    app = _Server(notebook_path=str(page), log_level="ERROR")
    app.initialize([])
    for log in (app.log, *(logging.getLogger(f"tornado.{name}") for name in ("access", "general", "application"))):
        log.setLevel(logging.ERROR)
        log.addFilter(_WithoutToken(token))
    # Set after the configuration files were read, so that none of them binds elsewhere or drops the token.
    app.ip, app.port, app.port_retries, app.open_browser = HOST, port, 0, False
    app.token, app.connection_dir_root = token, str(folder)
    app.template_paths.insert(0, str(folder))
    app.tornado_settings = {
        "websocket_max_message_size": _MAX_MESSAGE_BYTES,
        "static_path": DEFAULT_STATIC_FILES_PATH,
        # Refuses names that a foreign page may have pointed to this machine.
        "allow_remote_access": False,
        "headers": {"Content-Security-Policy": policy(), "Referrer-Policy": "no-referrer"},
    }
    IOLoop.current().add_callback(announce, f"http://{HOST}:{port}/?token={token}")
    app.start()
