"""Writers that go on while leaders die: each follows its store's leader as that store's clients do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from bench.etcd_client import EtcdClient, Status
from bench.http2 import CallFailed
from bench.trios import EtcdTrio, Trio
from oarlock.cluster.boot.pki import CertificateFiles
from oarlock.consensus.certificates import Tls
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Put, Range, StoreError, Transaction

POLL_S = 0.02
RETRY_S = 0.005
"""The pace of a client that tries again: without it the attempts would take the CPU that an election needs."""
ATTEMPT_S = 0.2
"""How long an attempt at etcd may take before another member is asked: one that forwards to a dead leader never says
so."""
CAUGHT_UP = 1_000
"""A member that lags by no more log entries than this, under load, has caught up."""


class NotWritten(Exception):
    """The write was not acknowledged; it may have happened."""


class Writer(Protocol):
    async def start(self) -> None: ...

    async def put(self, key: bytes, value: bytes) -> None:
        """Return once the write is acknowledged. Raises NotWritten."""
        ...

    async def keys(self, key: bytes, range_end: bytes) -> set[bytes]:
        """Return the keys of a range, linearizably."""
        ...

    async def leader(self) -> str:
        """Return the leader's name, once all members are up and have caught up."""
        ...

    async def close(self) -> None: ...


class OarlockWriter:
    def __init__(self, trio: Trio) -> None:
        endpoints = [f"{host}:{port}" for host, port in trio.endpoints.values()]
        files = trio.client
        self._client = StoreClient(endpoints, Tls(files.ca, files.cert, files.key), wait_s=30.0)
        self._members = len(endpoints)

    async def start(self) -> None:
        await self._client.start()

    async def put(self, key: bytes, value: bytes) -> None:
        try:
            await self._client.transact(Transaction(success=(Put(key, value),)))
        except StoreError as error:
            raise NotWritten(str(error)) from error

    async def keys(self, key: bytes, range_end: bytes) -> set[bytes]:
        result = await self._client.range(Range(key, range_end, keys_only=True))
        return {kv.key for kv in result.kvs}

    async def leader(self) -> str:
        while True:
            with contextlib.suppress(StoreError):
                members = await self._client.status()
                leaders = {member.leader for member in members}
                index = max(member.index for member in members)
                caught_up = all(index - member.applied <= CAUGHT_UP for member in members)
                if len(members) == self._members and caught_up and len(leaders) == 1 and "" not in leaders:
                    return leaders.pop()
            await asyncio.sleep(POLL_S)

    async def term(self) -> int:
        """Return the latest term that a member knows: every election that somebody won or nearly won raises it."""
        return max(member.term for member in await self._client.status())

    async def close(self) -> None:
        await self._client.close()


class EtcdWriter:
    """Asks one member; when that fails or does not answer, the next one."""

    def __init__(self, trio: Trio) -> None:
        self._endpoints: Mapping[str, tuple[str, int]] = trio.endpoints
        self._files: CertificateFiles = trio.client
        self._clients: dict[str, EtcdClient] = {}
        self._asked = ""
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        self._asked = await self.leader()

    async def put(self, key: bytes, value: bytes) -> None:
        asked = self._asked
        try:
            async with asyncio.timeout(ATTEMPT_S):
                await (await self._connected(asked)).put(key, value)
        except (CallFailed, OSError) as error:  # TimeoutError is an OSError
            if asked == self._asked:
                self._move_on()
            await asyncio.sleep(RETRY_S)
            raise NotWritten(str(error)) from error

    async def keys(self, key: bytes, range_end: bytes) -> set[bytes]:
        return await (await self._connected(await self.leader())).keys(key, range_end)

    async def leader(self) -> str:
        while True:
            members = {name: await self._status(name) for name in self._endpoints}
            known = [status for status in members.values() if status is not None and status.has_leader]
            if len(known) == len(members):
                index = max(status.index for status in known)
                leading = [name for name, status in members.items() if status is not None and status.leads]
                if len(leading) == 1 and all(index - status.index <= CAUGHT_UP for status in known):
                    return leading[0]
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _move_on(self) -> None:
        names = list(self._endpoints)
        self._asked = names[(names.index(self._asked) + 1) % len(names)]

    async def _connected(self, name: str) -> EtcdClient:
        if not self._is_connected(name):
            async with self._connecting:
                if not self._is_connected(name):
                    self._clients[name] = await EtcdClient.connect(*self._endpoints[name], self._files)
        return self._clients[name]

    def _is_connected(self, name: str) -> bool:
        return name in self._clients and not self._clients[name].lost.done()

    async def _status(self, name: str) -> Status | None:
        try:
            async with asyncio.timeout(1):
                return await (await self._connected(name)).status()
        except (CallFailed, OSError):
            return None


def writer(trio: Trio) -> Writer:
    """Return an unstarted writer to these members."""
    return EtcdWriter(trio) if isinstance(trio, EtcdTrio) else OarlockWriter(trio)
