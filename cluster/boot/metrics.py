"""A process's /metrics: prometheus_client's own listener behind mutual TLS."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Paths of PEM files; only clients with a certificate of the cluster's CA may read."""

    ca_file: str
    cert_file: str
    key_file: str
    host: str = "127.0.0.1"
    port: int = 0


class MetricsListener:
    """Serves the default registry from a thread of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = MetricsSettings(**settings)
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def start(self) -> str:
        """Return the address "host:port" that is served now."""
        s = self._settings
        self._server, self._thread = start_http_server(
            s.port,
            s.host,
            certfile=s.cert_file,
            keyfile=s.key_file,
            client_cafile=s.ca_file,
            client_auth_required=True,
        )
        return f"{s.host}:{self._server.server_port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
