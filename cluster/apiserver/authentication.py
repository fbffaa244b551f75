"""Who is calling: a client certificate's subject, or a bearer token of the token file or of a service account."""

from __future__ import annotations

import csv
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from oarlock.cluster.apiserver.exchange import Request

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller, as Kubernetes' user.Info; `extra` are its keys with their values."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Bearers(Protocol):
    """Whoever else knows tokens."""

    async def user(self, token: str, audiences: Sequence[str] = (), warnings: list[str] | None = None) -> User | None:
        """Return whose valid token this is, and what its bearer is to be told. Raises StoreError."""
        ...


class TokenFileError(Exception):
    """The token file can't be used; the text names the file, the line and the cause."""


def load_tokens(path: str) -> dict[str, User]:
    """Read upstream's static token file: `token,user,uid[,"group1,group2"]` a line.

    Raises TokenFileError. Source: kube-apiserver --token-auth-file.
    """
    users: dict[str, User] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0]:
                    raise TokenFileError(f"{path}:{number}: expected token,user,uid[,groups]")
                groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
                users[row[0]] = User(row[1], (*groups, AUTHENTICATED), row[2])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TokenFileError(f"{path}: {error}") from error
    return users


class Authenticator:
    """Resolves callers. `trusted` is who a caller without credentials is on a server without TLS (tests)."""

    def __init__(self, tokens: Mapping[str, User], bearers: Bearers, trusted: User | None = None) -> None:
        self._bearers = bearers
        self._tokens = [(token.encode(), user) for token, user in tokens.items()]
        self._trusted = trusted

    async def authenticate(self, request: Request) -> User | None:
        """Return the caller, or None if nothing valid was shown. A certificate goes before a token."""
        if request.peer is not None:
            name, organizations = request.peer
            return User(name, (*organizations, AUTHENTICATED))
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            text = token.strip()
            return self.by_token(text) or await self._bearers.user(text, warnings=request.warnings) or self._trusted
        return self._trusted

    def by_token(self, text: str) -> User | None:
        """Return whose token of the token file `text` is, if anybody's."""
        found: User | None = None
        shown = text.encode()
        for token, user in self._tokens:
            # Every token is compared, in constant time, so that the answer's time tells nothing.
            if hmac.compare_digest(token, shown):
                found = user
        return found
