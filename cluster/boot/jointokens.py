"""The tokens by which hosts join: `oarlock1.<SHA-256 of the CA's certificate>.<secret>`. Pure.

The hash lets a host know the cluster before it says the secret to anybody; the secret lets the cluster know the host.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from oarlock.cluster.boot.errors import BootError

Purpose = Literal["server", "node"]
_TOKEN = re.compile(r"oarlock1\.([0-9a-f]{64})\.([0-9a-f]{32})")
_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class Token:
    """A token as somebody gives it."""

    ca_hash: str
    secret: str

    def __str__(self) -> str:
        return f"oarlock1.{self.ca_hash}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Token:
        """Raises BootError, without repeating the text, for what is no token."""
        found = _TOKEN.fullmatch(text.strip())
        if found is None:
            raise BootError(
                "--token is no join token", "Copy the whole of it, oarlock1.….…, from a server: oarlock token."
            )
        return cls(found[1], found[2])


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret of each token. Of two sets the one with the greater `version` holds; all servers take it over."""

    version: int
    server: str
    node: str

    @classmethod
    def new(cls) -> Secrets:
        return cls(1, _fresh(), _fresh())

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Secrets:
        """Read the form that `document` gives. Raises TypeError or ValueError for anything else."""
        found = cls(**document)
        if not isinstance(found.version, int) or not all(
            isinstance(one, str) and len(one) == 2 * _SECRET_BYTES for one in (found.server, found.node)
        ):
            raise ValueError("these are no secrets of join tokens")
        return found

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def rotated(self, purpose: Purpose) -> Secrets:
        """Return the next set, in which one secret is new."""
        changes = {"server": _fresh()} if purpose == "server" else {"node": _fresh()}
        return replace(self, version=self.version + 1, **changes)

    def is_newer_than(self, other: Secrets) -> bool:
        """Of two sets of one version, made on two hosts at once, the same one is newer everywhere."""
        return (self.version, self.server, self.node) > (other.version, other.server, other.node)

    def purpose_of(self, secret: str) -> Purpose | None:
        """Return what a secret entitles to, comparing in constant time."""
        given = secret.encode()
        is_server = hmac.compare_digest(given, self.server.encode())
        is_node = hmac.compare_digest(given, self.node.encode())
        return "server" if is_server else "node" if is_node else None


def ca_hash(pem: str) -> str:
    """Return the hash of a CA's certificate as tokens have it. Raises ValueError for what is no certificate."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _fresh() -> str:
    return secrets.token_hex(_SECRET_BYTES)
