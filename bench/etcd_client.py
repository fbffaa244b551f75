"""The calls of etcd's API that the benchmarks make, on one connection to one member.

Answers are read as far as the benchmarks need: a range's key-values are counted by the server and left as they came,
which is less than our own client does. Source: etcd 3.4 `rpc.proto`, `kv.proto`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from bench.http2 import Http2Connection
from bench.protobuf import bytes_field, bytes_in, fields, number_field, number_in
from oarlock.cluster.boot.pki import CertificateFiles

RANGE, PUT, TXN, COMPACT = (f"/etcdserverpb.KV/{call}".encode() for call in ("Range", "Put", "Txn", "Compact"))
GRANT, REVOKE, KEEP_ALIVE = (f"/etcdserverpb.Lease/Lease{call}".encode() for call in ("Grant", "Revoke", "KeepAlive"))
WATCH = b"/etcdserverpb.Watch/Watch"
STATUS = b"/etcdserverpb.Maintenance/Status"
TARGET_MOD = 2


def range_request(key: bytes, range_end: bytes = b"", *, serializable: bool = False) -> bytes:
    ended = bytes_field(2, range_end) if range_end else b""
    return bytes_field(1, key) + ended + (number_field(7, 1) if serializable else b"")


def put_request(key: bytes, value: bytes) -> bytes:
    return bytes_field(1, key) + bytes_field(2, value)


def update_request(key: bytes, value: bytes, mod_revision: int) -> bytes:
    """Put if the key is still at `mod_revision` (0: does not exist), else read it: Kubernetes' update."""
    compare = number_field(2, TARGET_MOD) + bytes_field(3, key) + number_field(6, mod_revision)
    put = bytes_field(2, put_request(key, value))
    read = bytes_field(1, range_request(key))
    return bytes_field(1, compare) + bytes_field(2, put) + bytes_field(3, read)


def revision_of(answer: bytes) -> int:
    """Return the revision in an answer's header, its first field."""
    return number_in(bytes_in(answer, 1), 3)


@dataclass(frozen=True)
class KeyRange:
    """An answer to a range: `kvs` are encoded key-values."""

    revision: int
    kvs: tuple[bytes, ...]
    count: int


@dataclass(frozen=True)
class Status:
    leads: bool
    has_leader: bool
    index: int


class EtcdClient:
    """Calls one member. All raise `http2.CallFailed`."""

    def __init__(self, connection: Http2Connection) -> None:
        self._connection = connection
        self._keep_alive: Callable[[bytes], None] | None = None
        self._kept: deque[asyncio.Future[None]] = deque()

    @classmethod
    async def connect(cls, host: str, port: int, files: CertificateFiles) -> EtcdClient:
        """Raises OSError and ssl.SSLError."""
        return cls(await Http2Connection.connect(host, port, files))

    @property
    def lost(self) -> asyncio.Future[None]:
        return self._connection.lost

    def close(self) -> None:
        self._connection.close()

    async def put(self, key: bytes, value: bytes) -> None:
        await self._connection.unary(PUT, put_request(key, value))

    async def update(self, key: bytes, value: bytes, mod_revision: int) -> tuple[bool, int]:
        """Return whether the key was still at `mod_revision`, and the store's revision."""
        answer = await self._connection.unary(TXN, update_request(key, value, mod_revision))
        return bool(number_in(answer, 2)), revision_of(answer)

    async def range_bytes(self, key: bytes, range_end: bytes = b"", *, serializable: bool = False) -> bytes:
        """Return the answer as it came."""
        return await self._connection.unary(RANGE, range_request(key, range_end, serializable=serializable))

    async def range(self, key: bytes, range_end: bytes = b"") -> KeyRange:
        answer = await self.range_bytes(key, range_end)
        kvs = tuple(value for field, value in fields(answer) if field == 2 and isinstance(value, bytes))
        return KeyRange(revision_of(answer), kvs, number_in(answer, 4))

    async def keys(self, key: bytes, range_end: bytes) -> set[bytes]:
        """Return the keys of a range."""
        answer = await self._connection.unary(RANGE, range_request(key, range_end) + number_field(8, 1))
        return {bytes_in(value, 1) for field, value in fields(answer) if field == 2 and isinstance(value, bytes)}

    async def compact(self, revision: int) -> None:
        await self._connection.unary(COMPACT, number_field(1, revision))

    async def grant(self, ttl_s: int) -> int:
        return number_in(await self._connection.unary(GRANT, number_field(1, ttl_s)), 2)

    async def keep_alive(self, lease: int) -> None:
        """Renew once. All leases share one stream, as in etcd's own client; it answers in order."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept.append(kept)
        if self._keep_alive is None:
            self._keep_alive = self._connection.stream(KEEP_ALIVE, number_field(1, lease), self._on_kept)
        else:
            self._keep_alive(number_field(1, lease))
        await kept

    def _on_kept(self, _answer: bytes) -> None:
        kept = self._kept.popleft()
        if not kept.done():
            kept.set_result(None)

    async def revoke(self, lease: int) -> None:
        await self._connection.unary(REVOKE, number_field(1, lease))

    async def watch(self, key: bytes, range_end: bytes, count: int, on_events: Callable[[list[bytes]], None]) -> None:
        """Open `count` watches on one stream; return once all stand. `on_events` gets encoded events."""
        standing = asyncio.Event()
        missing = count

        def on_message(answer: bytes) -> None:
            nonlocal missing
            events = []
            for field, value in fields(answer):
                if field == 11 and isinstance(value, bytes):
                    events.append(value)
                elif field == 3 and value:
                    missing -= 1
                    if not missing:
                        standing.set()
            if events:
                on_events(events)

        request = bytes_field(1, bytes_field(1, key) + bytes_field(2, range_end))
        send = self._connection.stream(WATCH, request, on_message)
        for _ in range(count - 1):
            send(request)
        await standing.wait()

    async def status(self) -> Status:
        answer = await self._connection.unary(STATUS, b"")
        leader = number_in(answer, 4)
        return Status(leader == number_in(bytes_in(answer, 1), 2), bool(leader), number_in(answer, 5))


@lru_cache(maxsize=64)
def event_value(event: bytes) -> bytes:
    """Return the value that an encoded watch event put. The same event comes for every watcher: it is decoded once."""
    return bytes_in(bytes_in(event, 2), 5)
