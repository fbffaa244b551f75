"""A listening socket at which nobody counts before they have said who they are.

Whoever connects is a stranger until its protocol calls `Guest.admit`, and strangers are bounded in number, in time and,
by their protocols' first frames, in bytes. When one too many comes, the one that has been silent longest goes: whoever
holds connections open can't keep out a client that says its hello at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import Counter

from oarlock.consensus.certificates import Certificates, common_name, tls_trouble

log = logging.getLogger(__name__)

REPORTS_MAX = 256
REPORT_AGAIN_S = 60.0
ACCEPT_AGAIN_S = 1.0
BACKLOG = 128

REFUSED = Counter("oarlock_store_refused_connections", "Connections that were not let in.", ["listener"])


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may be strangers at once, and for how long, TLS handshake and hello together."""

    strangers_max: int = 64
    patience_s: float = 5.0


class Guest:
    """One connection, seen by its listener. Its protocol says when it has come, when it is known, when it is gone."""

    def __init__(self, listener: Listener, address: str = "local") -> None:
        self.address = address
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._connection: socket.socket | None = None

    def shake_hands(self, connection: socket.socket, handshake: asyncio.Task[None]) -> None:
        """Begin with TLS."""
        self._connection, self._handshake = connection, handshake
        self._listener.arrived(self)

    def arrive(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; the time for the hello runs on since the TLS handshake began."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's TLS transport is no subclass
        if self._handshake is None:
            peer = transport.get_extra_info("peername")
            self.address = str(peer[0]) if isinstance(peer, tuple) else self.address
            self._listener.arrived(self)

    def admit(self) -> None:
        """Be a stranger no more."""
        self._listener.forget(self)

    def refuse(self, reason: str) -> None:
        """Report why this connection is about to be closed."""
        self._listener.forget(self)
        self._listener.report(self.address, reason)

    def leave(self) -> None:
        """The connection is gone."""
        name = common_name(self._transport) if self._transport is not None else ""
        if self._listener.forget(self):
            self._listener.report(self.address, f"left without a hello{name and f', its certificate is of {name}'}")

    def dismiss(self, reason: str) -> None:
        """Cut the connection off."""
        self.refuse(reason)
        if self._transport is not None:
            self._transport.abort()
        elif self._handshake is not None and self._connection is not None:
            self._handshake.cancel()
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # the task may not have begun, and nobody else closes it


class Listener:
    """Makes a protocol by `welcome(guest)` for each connection, over TLS if there are `certificates`.

    `welcome`'s protocols call the guest's `arrive`, `admit` (or `refuse`) and `leave`.
    """

    def __init__(
        self,
        name: str,
        welcome: Callable[[Guest], asyncio.Protocol],
        certificates: Certificates | None,
        limits: Limits | None = None,
    ) -> None:
        """`name` stands in logs and metrics."""
        self._name = name
        self._welcome = welcome
        self._certificates = certificates
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._strangers: dict[Guest, asyncio.TimerHandle] = {}
        self._reported: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def listen(self, host: str, port: int) -> None:
        """Listen on an address. Raises OSError."""
        if self._certificates is None:
            self._server = await self._loop.create_server(self._protocol, host, port)
            return
        for family, _, _, _, address in await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._accept_on(socket.create_server(address, family=family, backlog=BACKLOG))

    async def take(self, listener: socket.socket) -> None:
        """Listen on a bound socket."""
        if self._certificates is not None:
            self._accept_on(listener)
        elif listener.family == socket.AF_UNIX:
            self._server = await self._loop.create_unix_server(self._protocol, sock=listener)
        else:
            self._server = await self._loop.create_server(self._protocol, sock=listener)

    def close(self) -> None:
        """Listen no more, and part with those that haven't been let in. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._accepting:
            task.cancel()
        for listener in self._sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self._sockets.clear()
        for guest in list(self._strangers):
            guest.dismiss("the member stops")

    @property
    def port(self) -> int:
        """The TCP port listened on, 0 if there is none."""
        sockets = self._sockets or (self._server.sockets if self._server is not None else ())
        addresses = [listener.getsockname() for listener in sockets]
        return next((int(address[1]) for address in addresses if isinstance(address, tuple)), 0)

    @property
    def strangers(self) -> int:
        """How many connections haven't said yet who they are."""
        return len(self._strangers)

    def _protocol(self) -> asyncio.Protocol:
        return self._welcome(Guest(self))

    # TLS. asyncio's servers make a protocol only after the handshake: too late to count it, or to say who failed.

    def _accept_on(self, listener: socket.socket) -> None:
        listener.setblocking(False)  # noqa: FBT003 - the library's signature
        self._sockets.append(listener)
        self._accepting.append(self._loop.create_task(self._accept(listener)))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(listener)
            except OSError as error:  # out of file descriptors, mostly
                log.error("can't accept listener=%s error=%s", self._name, error)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            guest = Guest(self, str(address[0]))
            guest.shake_hands(connection, self._loop.create_task(self._shake_hands(guest, connection)))

    async def _shake_hands(self, guest: Guest, connection: socket.socket) -> None:
        assert self._certificates is not None, "only TLS has handshakes"
        patience_s = self._limits.patience_s
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._welcome(guest),
                connection,
                ssl=_Context.of(self._certificates.accepting, connection),
                ssl_handshake_timeout=2 * patience_s,  # the guest's timer comes first
                ssl_shutdown_timeout=patience_s,
            )
        except (OSError, TimeoutError) as error:
            guest.refuse(tls_trouble(error))

    # What guests report.

    def arrived(self, guest: Guest) -> None:
        seconds = self._limits.patience_s
        self._strangers[guest] = self._loop.call_later(seconds, guest.dismiss, f"no hello within {seconds:g} s")
        if len(self._strangers) > self._limits.strangers_max:
            oldest = next(iter(self._strangers))
            oldest.dismiss(f"more than {self._limits.strangers_max} connections without a hello")

    def forget(self, guest: Guest) -> bool:
        """Return whether the guest was a stranger until now."""
        timer = self._strangers.pop(guest, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def report(self, address: str, reason: str) -> None:
        """Log a refusal; the same one of the same address again only after a minute."""
        REFUSED.labels(self._name).inc()
        now_s, key = self._loop.time(), (address, reason)
        if now_s < self._reported.get(key, 0.0):
            return
        self._reported[key] = now_s + REPORT_AGAIN_S
        self._reported.move_to_end(key)
        if len(self._reported) > REPORTS_MAX:
            self._reported.popitem(last=False)
        log.warning("refused listener=%s address=%s reason=%s", self._name, address, reason)


class _TlsObject(ssl.SSLObject):
    """Sends the alert of a handshake that fails: asyncio drops it, and the other side would never learn the reason."""

    alerts: ssl.MemoryBIO
    connection: socket.socket

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            with contextlib.suppress(OSError):  # a courtesy: nobody waits until there is room for it
                os.write(self.connection.fileno(), self.alerts.read())
            raise


class _Context(ssl.SSLContext):
    """The context of one connection that is accepted: another's certificates, and where its alerts go."""

    _real: ssl.SSLContext
    _connection: socket.socket

    @classmethod
    def of(cls, real: ssl.SSLContext, connection: socket.socket) -> _Context:
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._real, context._connection = real, connection
        return context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *arguments: Any, **options: Any) -> _TlsObject:
        self._real.sslobject_class = _TlsObject
        wrapped = cast("_TlsObject", self._real.wrap_bio(incoming, outgoing, *arguments, **options))
        wrapped.alerts, wrapped.connection = outgoing, self._connection
        return wrapped
