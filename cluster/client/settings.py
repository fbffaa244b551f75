"""Where an API server is and how to prove who we are to it."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

Fence = Callable[[], "str | None"]
"""Returns the value of the `Oarlock-Fence` header, `NAME=EPOCH`, for the next write; with None nothing is written."""


@dataclass(frozen=True)
class ClientSettings:
    """`server` is `https://host:port`, `http://host:port` or `unix:/path`. Files are PEM; `*_pem` are inline PEM.

    Several servers of one cluster, with commas between them, are asked one at a time: the next when one fails.
    `timeout_s` bounds one request (watches and log streams excepted). Raises ValueError for servers that don't go
    together.
    """

    server: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    token: str | None = None
    fence: Fence | None = None
    ca_pem: str | None = None
    cert_pem: str | None = None
    key_pem: str | None = None
    insecure: bool = False
    user_agent: str = "oarlock"
    timeout_s: float = 30.0

    @property
    def socket_path(self) -> str | None:
        """The Unix socket's path, or None for a network address."""
        return urlsplit(self.server).path if self.server.startswith("unix:") else None

    def __post_init__(self) -> None:
        if len({url.partition(":")[0] for url in self.base_urls}) > 1:
            raise ValueError(f"the servers {self.server} must be all https or all http")

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The URLs that request paths are appended to, without a trailing slash."""
        if self.socket_path:
            return ("http://localhost",)
        return tuple(url.strip().rstrip("/") for url in self.server.split(","))

    def ssl_context(self) -> ssl.SSLContext | None:
        """Build the TLS context, or return None when the server is not reached by https. Raises OSError, SSLError."""
        if not self.base_urls[0].startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_pem)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_pem and self.key_pem:
            # OpenSSL loads a client key from a file only; NamedTemporaryFile makes it 0600 and removes it at once.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
                pair.write(f"{self.cert_pem}\n{self.key_pem}")
                pair.flush()
                context.load_cert_chain(pair.name)
        elif self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context
