"""One client's connection: who it is, its commands one after the other, its replies in their order."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from oarlock.consensus.listener import Guest
from oarlock.consensus.model import InvalidRequest, Range, Store, StoreError, Unavailable
from oarlock.consensus.resp import replies
from oarlock.consensus.resp.commands import COMMANDS, Context, NoGuard
from oarlock.consensus.resp.database import Database, Deposed, Guard, Refused, WrongType
from oarlock.consensus.resp.parsing import KNOWN, STRANGER, Malformed, RequestParser
from oarlock.consensus.sockets import notice_death

UNREAD_BYTES_MAX: Final = 1 << 20
"""Beyond that nothing more is read until some commands are answered."""
_FENCE: Final = re.compile(rb"([A-Za-z0-9._-]{1,253})=([1-9]\d{0,18})")
_WATCH_AGAIN_S: Final = 0.2

SESSIONS = Gauge("oarlock_resp_sessions", "Connections that have authenticated.")
ANSWERED = Counter("oarlock_resp_commands", "Commands that were answered.", ["command"])
DEPOSED = Counter("oarlock_resp_deposed_sessions", "Connections cut off because their lease has passed on.")

_log = logging.getLogger(__name__)


class Host(Protocol):
    """What a session needs of its server."""

    @property
    def store(self) -> Store: ...

    @property
    def database(self) -> Database: ...

    @property
    def password(self) -> bytes: ...

    @property
    def leases(self) -> bytes: ...

    def admit(self, session: Session) -> bool:
        """Return whether there is room for one more that has authenticated."""
        ...

    def closed(self, session: Session) -> None: ...


class Session(asyncio.Protocol):
    """Serves one connection.

    `AUTH NAME=EPOCH PASSWORD` binds it to a term of lease NAME: each write is a transaction that compares the epoch,
    and the connection is cut once the term is over. `AUTH PASSWORD` lets it read. While the store has no leader
    replies wait; a write whose outcome stays unknown ends the connection, since no reply would be true.
    """

    def __init__(self, host: Host, guest: Guest) -> None:
        self._host, self._guest = host, guest
        self._parser = RequestParser(STRANGER)
        self._context = Context(host.database)
        self._known = False
        self._ending = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._working: asyncio.Task[None] | None = None
        self._guarding: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's TLS transport is no subclass
        self._guest.arrive(transport)
        notice_death(transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        if self._parser.unread > UNREAD_BYTES_MAX and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport, self._ending = None, True
        self._guest.leave()
        self._writable.set()
        for task in (self._working, self._guarding):
            if task is not None:
                task.cancel()
        if self._known:
            SESSIONS.dec()
            self._host.closed(self)

    def cut(self, reason: str) -> None:
        """End the connection without another word."""
        self._ending = True
        if self._transport is not None:
            _log.info("session cut address=%s reason=%s", self._guest.address, reason)
            self._transport.abort()

    # Commands

    async def _work(self) -> None:
        """Answer what has been fed."""
        try:
            while not self._ending and (command := self._parser.take()) is not None:
                reply = await self._answer(command)
                if self._transport is not None:
                    self._transport.write(reply)
                await self._writable.wait()
        except Malformed as malformed:
            self._refuse(f"ERR Protocol error: {malformed}")
        except Deposed:
            DEPOSED.inc()
            self.cut("its lease has passed on")
        except StoreError as error:
            self.cut(f"the outcome of a write is unknown: {error}")
        finally:
            self._working = None
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    async def _answer(self, command: list[bytes]) -> bytes:
        """Return the reply. Raises Deposed, and StoreError if a write may or may not have been carried out."""
        name, arguments = command[0].upper(), command[1:]
        if name == b"AUTH":
            return await self._authenticate(arguments)
        if not self._known:
            return replies.error("NOAUTH Authentication required.")
        entry = COMMANDS.get(name)
        shown = name[:32].decode("ascii", "replace")
        if entry is None:
            return replies.error(f"ERR unknown command '{shown}'")
        if not entry.least <= len(arguments) <= entry.most:
            return replies.error(f"ERR wrong number of arguments for '{shown.lower()}' command")
        try:
            reply = await entry.run(self._context, arguments)
        except (Refused, InvalidRequest) as refusal:
            return replies.error(f"ERR {refusal}")
        except WrongType:
            return replies.error("WRONGTYPE Operation against a key holding the wrong kind of value")
        except NoGuard:
            return replies.error("NOPERM writes need a lease: AUTH NAME=EPOCH PASSWORD")
        except Unavailable as trouble:
            return replies.error(f"TRYAGAIN nothing was done: {trouble}")
        ANSWERED.labels(shown).inc()
        return reply

    # Who it is

    async def _authenticate(self, arguments: list[bytes]) -> bytes:
        if len(arguments) not in (1, 2):
            return replies.error("ERR wrong number of arguments for 'auth' command")
        if not hmac.compare_digest(arguments[-1], self._host.password):
            return self._refuse("WRONGPASS invalid username-password pair or user is disabled.")
        guard = None
        if len(arguments) == 2:
            guard = await self._guard(arguments[0])
            if guard is None:
                return self._refuse("WRONGPASS the user must be NAME=EPOCH of a lease that is held in that epoch")
        if not self._known and not self._host.admit(self):
            return self._refuse("ERR max number of clients reached")
        if not self._known:
            self._guest.admit()
            SESSIONS.inc()
        self._known, self._parser.bounds = True, KNOWN
        self._bind(guard)
        return replies.OK

    async def _guard(self, user: bytes) -> Guard | None:
        """Return the guard of `NAME=EPOCH`, None if that isn't the lease's present term."""
        named = _FENCE.fullmatch(user)
        if named is None:
            return None
        guard = Guard(self._host.leases + named[1], int(named[2]))
        found = await self._host.store.range(Range(guard.key))
        return guard if found.kvs and found.kvs[0].create_revision == guard.epoch else None

    def _bind(self, guard: Guard | None) -> None:
        self._context.held = guard
        if self._guarding is not None:
            self._guarding.cancel()
            self._guarding = None
        if guard is not None:
            self._guarding = asyncio.get_running_loop().create_task(self._cut_when_deposed(guard))

    async def _cut_when_deposed(self, guard: Guard) -> None:
        await until_deposed(self._host.store, guard)
        DEPOSED.inc()
        self.cut("its lease has passed on")

    def _refuse(self, text: str) -> bytes:
        """Tell why and close."""
        self._ending = True
        if self._transport is not None:
            self._guest.refuse(text)
            self._transport.write(replies.error(text))
            self._transport.close()
        return b""


async def until_deposed(store: Store, guard: Guard) -> None:
    """Return once the guard's term is over; a store that can't be asked is asked again."""
    while True:
        with contextlib.suppress(StoreError):
            found = await store.range(Range(guard.key))
            if not found.kvs or found.kvs[0].create_revision != guard.epoch:
                return
            watch = store.watch(guard.key, b"", found.revision + 1)
            try:
                async for batch in watch:
                    if any(event.kv.create_revision != guard.epoch for event in batch.events):
                        return
            finally:
                await watch.close()
        await asyncio.sleep(_WATCH_AGAIN_S)
