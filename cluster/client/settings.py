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

    `timeout_s` bounds one request (watches and log streams excepted).
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

    @property
    def base_url(self) -> str:
        """The URL that request paths are appended to, without a trailing slash."""
        return "http://localhost" if self.socket_path else self.server.rstrip("/")

    def ssl_context(self) -> ssl.SSLContext | None:
        """Build the TLS context, or return None when the server is not reached by https. Raises OSError, SSLError."""
        if not self.base_url.startswith("https:"):
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
