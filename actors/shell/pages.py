"""What a component's process serves: its metrics to whoever has a certificate of the cluster, pages to API servers.

An API server has asked who is asking, and whether they may, before it passes a request on; so pages are for members of
system:masters only, as which it shows itself. Served by threads of their own, as the metrics always were.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

MASTERS = "system:masters"
PREFIX = "/pages/"
_ANSWER_TIMEOUT_S = 5.0
_SILENCE_TIMEOUT_S = 30.0
_ORGANIZATIONS = "oarlock.organizations"

_log = logging.getLogger(__name__)

Answer = Callable[[str], Awaitable["bytes | None"]]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass(frozen=True)
class MetricsTls:
    """PEM files of the listener; a scraper shows a certificate of `ca_file`."""

    ca_file: str
    cert_file: str
    key_file: str


def listen(ip: str, tls: MetricsTls | None, answer: Answer, loop: asyncio.AbstractEventLoop) -> str:
    """Serve on a free port until the process ends; return `ip:port`. `answer` is called on `loop`."""
    server = make_server(ip, 0, _application(answer, loop), _Server, _Handler)
    if tls is not None:
        # The handshake is each connection's own thread's: one that stalls holds nobody up.
        server.socket = _context(tls).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return f"{ip}:{server.server_port}"


def _context(tls: MetricsTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.load_verify_locations(tls.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _application(answer: Answer, loop: asyncio.AbstractEventLoop) -> Application:
    metrics = make_wsgi_app()

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(PREFIX):
            served: Iterable[bytes] = metrics(environ, start)
            return served
        if environ["REQUEST_METHOD"] != "GET" or MASTERS not in environ[_ORGANIZATIONS]:
            return _plain(start, "403 Forbidden", b"pages are for API servers\n")
        try:
            told = asyncio.run_coroutine_threadsafe(_awaited(answer, path), loop).result(_ANSWER_TIMEOUT_S)
        except NoAnswer:
            return _plain(start, "504 Gateway Timeout", b"the component is busy\n")
        if told is None:
            return _plain(start, "404 Not Found", b"no such page\n")
        start("200 OK", [("Content-Type", "application/json")])
        return [told]

    return serve


async def _awaited(answer: Answer, path: str) -> bytes | None:
    return await answer(path.removeprefix(PREFIX))


def _plain(start: StartResponse, status: str, text: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection; one that breaks off, or shows no good certificate, is nobody's concern."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class' shape
        _log.debug("connection ended client=%s error=%r", client_address, str(sys.exc_info()[1]))


class _Handler(WSGIRequestHandler):
    """Tells the application which organizations the client's certificate names; logs nothing."""

    timeout = _SILENCE_TIMEOUT_S

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), _ORGANIZATIONS: _organizations(self.connection)}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        pass


def _organizations(connection: object) -> frozenset[str]:
    """Return the organizations of a verified certificate; none without TLS."""
    shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    subject: Any = (shown or {}).get("subject", ())
    return frozenset(value for part in subject for key, value in part if key == "organizationName")
