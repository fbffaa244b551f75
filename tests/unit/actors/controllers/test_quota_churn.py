"""Pods come and go through two API servers while the controller counts: never too many, and right in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oarlock.actors.controllers.component import create
from oarlock.actors.shell.component import ComponentContext
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.client import ClientSettings
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.memory import MemoryStore

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
PREFIX = b"/registry/core/pods/default/"
REFUSED = 403
LIMIT = 7
WORKERS = 12
ROUNDS = 8


@asynccontextmanager
async def cluster(store: MemoryStore) -> AsyncIterator[list[ApiClient]]:
    """Run two API servers and the controllers; yield a client of each server."""
    servers = [ApiServer(ApiServerSettings(name, shutdown_grace_s=0.1), store) for name in ("a", "b")]
    for server in servers:
        await server.start()
    clients = [ApiClient(ClientSettings(server.url)) for server in servers]
    component = create(ComponentContext(ClientSettings(servers[0].url), "me", "controllers", settings={}))
    await component.warm()
    holder = LeaseHolder(clients[0], "controllers", "me")
    running = asyncio.ensure_future(holder.lead(lambda holding: component.run(holding.fence)))
    try:
        yield clients
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await component.stop()
        for client in clients:
            await client.close()
        for server in servers:
            await server.stop()
        await store.close()


def pod(name: str) -> Object:
    spec = {"containers": [{"name": "c", "image": "host/x"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def used(quota: Object) -> str | None:
    return ((quota.get("status") or {}).get("used") or {}).get("pods")


async def until_used(client: ApiClient, amount: int) -> None:
    async with asyncio.timeout(20):
        quota = await client.get(f"{QUOTAS}/q")
        if used(quota) == str(amount):
            return
        since = {"resourceVersion": quota["metadata"]["resourceVersion"]}
        async for event in client.watch(QUOTAS, since):
            if used(event["object"]) == str(amount):
                return


async def come_and_go(client: ApiClient, name: str) -> int:
    """Create and delete a pod again and again; returns how often there was room."""
    had = 0
    for _ in range(ROUNDS):
        try:
            await client.create(PODS, pod(name))
        except ApiError as error:
            if error.code != REFUSED:
                raise
            continue
        had += 1
        await client.delete(f"{PODS}/{name}")
    return had


async def most_at_once(store: MemoryStore) -> int:
    """Return the greatest number of pods that the store ever held, by its own history."""
    present: set[bytes] = set()
    most = 0
    end = await store.revision()
    watch = store.watch(PREFIX, PREFIX[:-1] + b"0", 1)
    try:
        async for batch in watch:
            for event in batch.events:
                (present.add if event.kv.value else present.discard)(event.kv.key)
                most = max(most, len(present))
            if batch.revision >= end:
                return most
    finally:
        await watch.close()
    return most


def test_never_exceeded_and_right_in_the_end() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with cluster(store) as clients:
            metadata, spec = {"name": "q"}, {"hard": {"pods": str(LIMIT)}}
            quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
            await clients[0].create(QUOTAS, quota)
            await until_used(clients[0], 0)
            workers = [come_and_go(clients[number % 2], f"p{number}") for number in range(WORKERS)]
            assert sum(await asyncio.gather(*workers)) >= LIMIT
            await until_used(clients[1], 0)
            assert 0 < await most_at_once(store) <= LIMIT
            made = await asyncio.gather(
                *(clients[number % 2].create(PODS, pod(f"last{number}")) for number in range(LIMIT))
            )
            assert len(made) == LIMIT
            assert used(await clients[0].get(f"{QUOTAS}/q")) == str(LIMIT)

    asyncio.run(scenario())
