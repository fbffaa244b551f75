"""Which API servers are endpoints of the `kubernetes` Service: those that live, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Event, LeaseNotFound, LeaseStatus, Range, Unavailable

ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
TTL_S = 3.0


class Reach:
    """A store as one server reaches it: not at all once it is cut off."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def lease_keep_alive(self, lease: int) -> LeaseStatus:
        if self.cut:
            raise Unavailable("cut off")
        return await self._store.lease_keep_alive(lease)

    async def lease_revoke(self, lease: int) -> None:
        if self.cut:
            raise Unavailable("cut off")
        await self._store.lease_revoke(lease)


@asynccontextmanager
async def beside(store: Any, address: str) -> AsyncIterator[ApiServer]:
    """Another server of the cluster, reached at `address`."""
    settings = ApiServerSettings(
        f"s-{address}",
        service_cidr="10.0.0.0/24",
        advertise_address=address,
        advertise_port=6443,
        presence_ttl_s=TTL_S,
        shutdown_grace_s=0.1,
    )
    server = ApiServer(settings, store)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def told(api: Any, *addresses: str) -> None:
    """Return once both forms of the endpoints hold these addresses."""
    async with asyncio.timeout(60):
        while await held(api) != (list(addresses), list(addresses)):  # noqa: ASYNC110 - the reads are HTTP
            await asyncio.sleep(0.02)


async def held(api: Any) -> tuple[list[str], list[str]]:
    _, endpoints = await api("GET", ENDPOINTS)
    _, piece = await api("GET", SLICE)
    (subset,) = endpoints["subsets"]
    return [one["ip"] for one in subset["addresses"]], [one["addresses"][0] for one in piece["endpoints"]]


SETTINGS: dict[str, Any] = {"advertise_address": "192.0.2.1", "advertise_port": 6443, "presence_ttl_s": TTL_S}


def test_a_server_that_dies_is_no_endpoint_until_it_is_back(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        reach = Reach(api.store)
        async with beside(reach, "192.0.2.2"):
            assert await held(api) == (["192.0.2.1", "192.0.2.2"],) * 2
            reach.cut = True
            await told(api, "192.0.2.1")
            reach.cut = False
            await told(api, "192.0.2.1", "192.0.2.2")

    with_api(scenario, **SETTINGS)


def test_a_server_that_stops_gives_its_place_back_at_once(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async with beside(api.store, "192.0.2.2"), beside(api.store, "192.0.2.3") as third:
            await told(api, "192.0.2.1", "192.0.2.2", "192.0.2.3")
            await third.stop()
            assert (await held(api))[0] == ["192.0.2.1", "192.0.2.2"]

    with_api(scenario, **{**SETTINGS, "presence_ttl_s": 600.0})


async def stored(store: MemoryStore) -> Any:
    (kv,) = (await store.range(Range(b"/registry/core/endpoints/default/kubernetes"))).kvs
    return orjson.loads(kv.value)["subsets"][0]["addresses"]


def test_the_last_server_leaves_the_endpoints_as_they_are() -> None:
    async def main() -> None:
        store = MemoryStore()
        async with beside(store, "192.0.2.2"):
            pass
        assert await stored(store) == [{"ip": "192.0.2.2"}]
        async with beside(store, "192.0.2.3"):
            assert await stored(store) == [{"ip": "192.0.2.3"}]
        await store.close()

    asyncio.run(main())


def test_two_servers_at_one_address_are_one_endpoint_while_either_lives(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async with beside(api.store, "192.0.2.1"):
            assert await held(api) == (["192.0.2.1"],) * 2
        assert await held(api) == (["192.0.2.1"],) * 2

    with_api(scenario, **SETTINGS)


def test_endpoints_changed_by_hand_are_made_right_again(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, _ = await api("PATCH", SLICE, {"endpoints": []}, "application/merge-patch+json")
        assert code == 200
        code, _ = await api("DELETE", ENDPOINTS)
        assert code == 200
        async with asyncio.timeout(60):
            while (await api("GET", ENDPOINTS))[0] == 404:  # noqa: ASYNC110 - the reads are HTTP
                await asyncio.sleep(0.02)
        await told(api, "192.0.2.1")

    with_api(scenario, **SETTINGS)


def test_renewing_writes_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        renewed = asyncio.Event()
        count = 0
        keep = api.store.lease_keep_alive

        async def counted(lease: int) -> LeaseStatus:
            nonlocal count
            count += 1
            if count == 2:
                renewed.set()
            try:
                status: LeaseStatus = await keep(lease)
            except LeaseNotFound:
                raise AssertionError("the lease ended though it was renewed") from None
            return status

        events: list[Event] = []
        watch = api.store.watch(b"/registry/core/endpoints/", b"/registry/core/endpoints0", 0)

        async def see() -> None:
            async for batch in watch:
                events.extend(batch.events)

        seeing = asyncio.create_task(see())
        api.store.lease_keep_alive = counted
        async with asyncio.timeout(60):
            await renewed.wait()
        seeing.cancel()
        await watch.close()
        assert events == []

    with_api(scenario, **SETTINGS)
