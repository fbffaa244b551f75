"""The same operations asked of either store, each through the leanest client that there is for it.

Both clients share their process' event loop (uvloop), its TLS and nothing else; both talk to the leader alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from bench.etcd_client import EtcdClient, event_value
from bench.http2 import CallFailed
from oarlock.cluster.boot.pki import CertificateFiles
from oarlock.consensus.certificates import Tls
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Compare, Put, Range, Transaction
from oarlock.consensus.remotewatch import RemoteWatch

Endpoints = list[tuple[str, int]]
LEASE_TTL_S = 60
START_S = 30.0
RETRY_S = 0.05


class Driver(Protocol):
    """One client's operations; any failure raises."""

    async def start(self) -> None:
        """Return once the leader answers."""
        ...

    async def put(self, key: bytes, value: bytes) -> None: ...

    async def update(self, key: bytes, value: bytes, mod_revision: int) -> int:
        """Put if the key is at `mod_revision`, return the new one. A lost race is a failure: nobody else writes."""
        ...

    async def get(self, key: bytes, *, serializable: bool = False) -> None: ...

    async def list(self, key: bytes, range_end: bytes, count: int) -> None:
        """Read a range that must have `count` keys, linearizably."""
        ...

    async def lease(self) -> None:
        """Grant a lease, renew it, revoke it."""
        ...

    async def watch(self, key: bytes, range_end: bytes, count: int, on_value: Callable[[bytes], None]) -> None:
        """Open `count` watches on one connection; once they stand, every event's value is given for each of them."""
        ...

    async def compact(self) -> None:
        """Drop the history, where the store leaves that to its users."""
        ...

    async def close(self) -> None: ...


class OarlockDriver:
    def __init__(self, endpoints: Endpoints, files: CertificateFiles) -> None:
        self._client = StoreClient(
            [f"{host}:{port}" for host, port in endpoints],
            Tls(files.ca, files.cert, files.key),
            wait_s=START_S,
        )
        self._readers: list[asyncio.Task[None]] = []
        self._watches: list[RemoteWatch] = []

    async def start(self) -> None:
        await self._client.start()

    async def put(self, key: bytes, value: bytes) -> None:
        await self._client.transact(Transaction(success=(Put(key, value),)))

    async def update(self, key: bytes, value: bytes, mod_revision: int) -> int:
        transaction = Transaction((Compare(key, "mod", "==", mod_revision),), (Put(key, value),), (Range(key),))
        result = await self._client.transact(transaction)
        assert result.succeeded, "nobody else writes this key"
        return result.revision

    async def get(self, key: bytes, *, serializable: bool = False) -> None:
        result = await self._client.range(Range(key), serializable=serializable)
        assert result.count == 1, "the key was put"

    async def list(self, key: bytes, range_end: bytes, count: int) -> None:
        result = await self._client.range(Range(key, range_end))
        assert len(result.kvs) == count, "all keys were put"

    async def lease(self) -> None:
        lease = (await self._client.lease_grant(LEASE_TTL_S * 1000)).lease
        await self._client.lease_keep_alive(lease)
        await self._client.lease_revoke(lease)

    async def watch(self, key: bytes, range_end: bytes, count: int, on_value: Callable[[bytes], None]) -> None:
        self._watches = [self._client.watch(key, range_end, 0) for _ in range(count)]
        self._readers = [asyncio.create_task(self._read(watch, on_value)) for watch in self._watches]
        await self._client.revision()  # answered after the watches, which were sent before it on the same connection

    @staticmethod
    async def _read(watch: RemoteWatch, on_value: Callable[[bytes], None]) -> None:
        async for batch in watch:
            for event in batch.events:
                on_value(event.kv.value)

    async def compact(self) -> None:
        """Nothing to do: the store drops history beyond its retention as it goes, within every figure."""

    async def close(self) -> None:
        for watch in self._watches:
            await watch.close()
        await asyncio.gather(*self._readers)
        await self._client.close()


class EtcdDriver:
    def __init__(self, endpoints: Endpoints, files: CertificateFiles) -> None:
        self._endpoints = endpoints
        self._files = files
        self._client: EtcdClient | None = None

    @property
    def client(self) -> EtcdClient:
        assert self._client is not None, "started first"
        return self._client

    async def start(self) -> None:
        async with asyncio.timeout(START_S):
            while self._client is None:
                for host, port in self._endpoints:
                    client = await self._leader(host, port)
                    self._client = self._client or client
                await asyncio.sleep(RETRY_S)

    async def _leader(self, host: str, port: int) -> EtcdClient | None:
        try:
            client = await EtcdClient.connect(host, port, self._files)
            if (await client.status()).leads:
                return client
        except (OSError, CallFailed):
            return None
        client.close()
        return None

    async def put(self, key: bytes, value: bytes) -> None:
        await self.client.put(key, value)

    async def update(self, key: bytes, value: bytes, mod_revision: int) -> int:
        succeeded, revision = await self.client.update(key, value, mod_revision)
        assert succeeded, "nobody else writes this key"
        return revision

    async def get(self, key: bytes, *, serializable: bool = False) -> None:
        answer = await self.client.range_bytes(key, serializable=serializable)
        assert len(answer) > len(key), "the key was put"

    async def list(self, key: bytes, range_end: bytes, count: int) -> None:
        answer = await self.client.range_bytes(key, range_end)
        assert len(answer) > count * len(key), "all keys were put"

    async def lease(self) -> None:
        lease = await self.client.grant(LEASE_TTL_S)
        await self.client.keep_alive(lease)
        await self.client.revoke(lease)

    async def watch(self, key: bytes, range_end: bytes, count: int, on_value: Callable[[bytes], None]) -> None:
        def on_events(events: list[bytes]) -> None:
            for event in events:
                on_value(event_value(event))

        await self.client.watch(key, range_end, count, on_events)

    async def compact(self) -> None:
        await self.client.compact((await self.client.range(b"\0")).revision)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
