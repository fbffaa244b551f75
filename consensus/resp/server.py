"""The RESP front: a listener for programs that keep their state in Redis, and behind it the replicated store."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from oarlock.consensus.certificates import Certificates, Tls
from oarlock.consensus.listener import Guest, Limits, Listener
from oarlock.consensus.model import Store
from oarlock.consensus.resp.database import Database
from oarlock.consensus.resp.session import Session

SESSIONS_MAX: Final = 64
_STRANGERS: Final = Limits(strangers_max=16, patience_s=5.0)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RespSettings:
    """Hashes and counters lie below `prefix`, which ends in "/"; a lease NAME is the key `leases` + NAME.

    With `tls` a client needs a certificate of its CA beside the password.
    """

    host: str
    port: int
    password: str
    prefix: str
    leases: str
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not self.password:
            raise ValueError("a RESP front needs a password")
        if not self.prefix.endswith("/"):
            raise ValueError(f"the prefix {self.prefix!r} doesn't end in a slash")


class RespServer:
    """Serves the store, which its owner starts and closes."""

    def __init__(self, settings: RespSettings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.database = Database(store, settings.prefix.encode())
        self.password = settings.password.encode()
        self.leases = settings.leases.encode()
        self._sessions: dict[Session, None] = {}
        self._listener: Listener | None = None
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Return once clients can come. Raises OSError."""
        certificates = Certificates(self.settings.tls) if self.settings.tls else None
        self._listener = Listener("resp", self._welcome, certificates, _STRANGERS)
        await self._listener.listen(self.settings.host, self.settings.port)
        log.info("RESP front serves port=%d prefix=%s", self.port, self.settings.prefix)

    async def wait(self) -> None:
        """Return when stopped."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Cut all connections. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for session in list(self._sessions):
            session.cut("the front stops")
        self._stopped.set()

    @property
    def port(self) -> int:
        return self._listener.port if self._listener is not None else 0

    def admit(self, session: Session) -> bool:
        if len(self._sessions) >= SESSIONS_MAX:
            return False
        self._sessions[session] = None
        return True

    def closed(self, session: Session) -> None:
        self._sessions.pop(session, None)

    def _welcome(self, guest: Guest) -> Session:
        return Session(self, guest)
