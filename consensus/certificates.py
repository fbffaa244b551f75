"""Certificates of both directions, as their files say at the time of each connection, and who a certificate speaks for.

A replica runs for months, its certificates don't. Nothing watches the files: whoever accepts or dials asks for a
context, and files that have changed since are loaded then. Connections that stand are left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from prometheus_client import Counter

log = logging.getLogger(__name__)

NAME_PREFIX = "system:oarlock:store:"
FILE_BYTES_MAX = 1 << 20

RELOADS = Counter("oarlock_store_certificate_reloads", "Changed certificate files that were taken into use.")
FAILED_RELOADS = Counter(
    "oarlock_store_certificate_reload_failures", "Changed certificate files that can't be used; the ones before are."
)


@dataclass(frozen=True)
class Tls:
    """PEM files: the trusted CAs (several while one replaces another), and this side's certificate and key."""

    ca_file: Path
    cert_file: Path
    key_file: Path


class _Contexts(NamedTuple):
    accepting: ssl.SSLContext
    dialling: ssl.SSLContext


class Certificates:
    """The TLS contexts made of `tls`, always those of the newest files that fit together.

    Files may be replaced at any time and in any order: while they don't load (half-written, a key without its
    certificate, an empty CA file) connections go on with what was loaded before. To change the CA, first add the new
    one to every CA file, then issue certificates by it, then remove the old one: from then on new connections with
    certificates of the old CA are refused.
    """

    def __init__(self, tls: Tls) -> None:
        """Read nothing yet: that is done when a context is asked for."""
        self.tls = tls
        self._seen = b""
        self._contexts: _Contexts | None = None

    @property
    def accepting(self) -> ssl.SSLContext:
        """The context for the next connection that is accepted. Raises OSError or ssl.SSLError if none ever loaded."""
        return self._current().accepting

    @property
    def dialling(self) -> ssl.SSLContext:
        """The context for the next connection that is dialled. Raises OSError or ssl.SSLError if none ever loaded."""
        return self._current().dialling

    def _current(self) -> _Contexts:
        """Return what the files say if they have changed and can be used, else what they said before.

        They are read each time, for about 80 µs of CPU beside a handshake's 2 ms: two writes within one tick of the
        file system's clock would look alike to `stat`.
        """
        found = _fingerprint(self.tls)
        before = self._contexts
        if before is not None and found == self._seen:
            return before
        self._seen = found  # also if it fails: the same bytes fail again, and are reported once
        try:
            self._contexts = _Contexts(tls_context(self.tls, server=True), tls_context(self.tls, server=False))
        except OSError as error:
            if before is None:
                raise
            FAILED_RELOADS.inc()
            log.warning("certificates not reloaded, those before stay in use error=%s", error)
            return before
        if before is not None:
            RELOADS.inc()
            log.info("certificates reloaded cert=%s ca=%s", self.tls.cert_file, self.tls.ca_file)
        return self._contexts


def tls_context(tls: Tls, *, server: bool) -> ssl.SSLContext:
    """Return a context that demands a certificate of a trusted CA from the other side.

    Raises OSError or ssl.SSLError that name the file. Sessions can't be resumed: each connection proves itself by the
    CAs and the clock of its own time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # identity is the name in the certificate's subject, see `common_name`
    context.verify_mode = ssl.CERT_REQUIRED
    if server:
        context.num_tickets = 0
    try:
        authorities = _read(tls.ca_file).decode("ascii")
        if authorities.count("-----BEGIN ") != authorities.count("-----END "):
            raise ValueError("it ends in the middle of a certificate")
        context.load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError) as error:
        raise ssl.SSLError(f"{tls.ca_file} holds no CA certificates that can be read: {error}") from error
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ssl.SSLError(f"{tls.cert_file} and {tls.key_file} are no certificate and its key: {error}") from error
    except OSError as error:
        raise OSError(error.errno, f"can't read {tls.cert_file} or {tls.key_file}: {error.strerror}") from error
    return context


def common_name(transport: asyncio.BaseTransport) -> str:
    """Return the CN of the other side's certificate, "" if it has none."""
    return next(iter(_subject(transport, "commonName")), "")


def organizations(transport: asyncio.BaseTransport) -> frozenset[str]:
    """Return every O of the other side's certificate."""
    return frozenset(_subject(transport, "organizationName"))


def tls_trouble(error: BaseException) -> str:
    """Return what a failed connection's error means for certificates, in words for an operator's log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other side's certificate is refused: {error.verify_message}"
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    _, alert, cause = reason.partition("ALERT_")
    if alert:
        return f"the other side refuses this side's certificate or protocol: {cause.replace('_', ' ').lower()}"
    return str(error) or type(error).__name__


def _subject(transport: asyncio.BaseTransport, attribute: str) -> list[str]:
    certificate = cast("dict[str, Any] | None", transport.get_extra_info("peercert")) or {}
    return [value for part in certificate.get("subject", ()) for key, value in part if key == attribute]


def _fingerprint(tls: Tls) -> bytes:
    """Return a digest of the files' bytes, without which nothing of the key stays in memory twice."""
    digest = hashlib.sha256()
    for path in (tls.ca_file, tls.cert_file, tls.key_file):
        try:
            content = _read(path)
        except OSError as error:
            content = repr(error).encode()
        digest.update(b"%d:" % len(content) + content)
    return digest.digest()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX)


def _no_password() -> NoReturn:
    """Called for an encrypted key; OpenSSL would ask the terminal otherwise."""
    raise ValueError("the key is encrypted, which the store doesn't support")
