"""Which API servers live: the endpoints of the `kubernetes` Service are those and no others.

Each keeps a key under a store lease. Renewing one costs the store no log entry; a server that dies is gone with its
lease, one that stops gives it back. All of them bring the endpoints in line when a key comes or goes, and each looks
again when it renews: who finds them right writes nothing.

Source: pkg/controlplane/reconcilers/lease.go, whose masterleases these keys are.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from oarlock.cluster.apiserver.bootstrap import Bootstrap, resource_of
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import LeaseNotFound, Put, Range, Store, StoreError, Transaction

log = logging.getLogger(__name__)

Obj = dict[str, Any]
SERVERS: Final = b"/oarlock/apiservers/"
_SERVERS_END: Final = b"/oarlock/apiservers0"
RENEWALS: Final = 3
"""How often a lease is renewed in its time to live."""
RETRY_S: Final = 0.5
LEAVE_S: Final = 1.0
"""How long a server that stops waits for a store that doesn't answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API server is reached."""

    address: str
    port: int


class Presence:
    """Tells of this server, and keeps the `kubernetes` Service's endpoints."""

    def __init__(self, store: Store, bootstrap: Bootstrap, name: str, place: Place, ttl_s: float) -> None:
        self._store = store
        self._bootstrap = bootstrap
        self._name = name
        self._place = place
        self._ttl_s = ttl_s
        self._lease = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._matching = asyncio.Lock()

    async def start(self) -> None:
        """Tell of this server, and return when it is an endpoint. Raises StoreError and ApiError."""
        await self._appear()
        await self._match()
        self._tasks = [
            asyncio.create_task(self._renew(), name="presence renewal"),
            asyncio.create_task(self._follow(), name="presence of others"),
        ]

    async def stop(self) -> None:
        """Be no endpoint any more, as soon as another server sees to it. May be called when it never began."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lease, self._lease = self._lease, 0
        if lease:
            with contextlib.suppress(StoreError, ApiError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._store.lease_revoke(lease)
                    await self._match()

    async def _appear(self) -> None:
        self._lease = (await self._store.lease_grant(round(self._ttl_s * 1000))).lease
        key = SERVERS + f"{self._name}/{self._lease:x}".encode()
        value = orjson.dumps({"address": self._place.address})
        await self._store.transact(Transaction((), (Put(key, value, self._lease),)))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / RENEWALS)
            try:
                try:
                    await self._store.lease_keep_alive(self._lease)
                except LeaseNotFound:
                    log.warning("this server was taken for dead, and tells of itself anew")
                    await self._appear()
                await self._match()
            except (ApiError, StoreError) as error:
                log.warning("this server's presence can't be told now: %s", error)

    async def _follow(self) -> None:
        while True:
            try:
                watch = self._store.watch(SERVERS, _SERVERS_END, await self._match() + 1)
                try:
                    async for batch in watch:
                        if batch.events:
                            await self._match()
                finally:
                    await watch.close()
            except (ApiError, StoreError) as error:
                log.warning("the presence of other servers can't be followed now: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _match(self) -> int:
        """Bring the endpoints in line with the servers that live, unless none seems to; return the revision seen."""
        async with self._matching:
            return await self._match_alone()

    async def _match_alone(self) -> int:
        found = await self._store.range(Range(SERVERS, _SERVERS_END))
        family = ipaddress.ip_address(self._place.address).version
        told = {str(orjson.loads(kv.value)["address"]) for kv in found.kvs}
        addresses = sorted(one for one in told if ipaddress.ip_address(one).version == family)
        if addresses:
            await self._bootstrap.match(resource_of("", "v1", "endpoints"), _endpoints(addresses, self._place.port))
            pieces = resource_of("discovery.k8s.io", "v1", "endpointslices")
            await self._bootstrap.match(pieces, _slice(addresses, self._place.port, family))
        return found.revision


def _endpoints(addresses: Iterable[str], port: int) -> Obj:
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    return {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "subsets": [{"addresses": [{"ip": address} for address in addresses], "ports": ports}],
    }


def _slice(addresses: Iterable[str], port: int, family: int) -> Obj:
    labels = {"kubernetes.io/service-name": "kubernetes"}
    return {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "addressType": f"IPv{family}",
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
