"""Quotas are exact however many write at once through however many API servers, and cost few lost transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Transaction, TransactionResult

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
PODS = "/api/v1/namespaces/default/pods"
QUOTA_KEY = b"/registry/core/resourcequotas/default/q"
SETTINGS: dict[str, Any] = {"shutdown_grace_s": 0.1, "disabled_plugins": ("ServiceAccount",)}


class CountingStore(MemoryStore):
    """Counts the transactions that would change the quota, and those of them that did."""

    tried = 0
    done = 0

    async def transact(self, transaction: Transaction, *args: Any, **kwargs: Any) -> TransactionResult:  # type: ignore[override]
        # As over a network: others get their turn between a decision and its transaction.
        await asyncio.sleep(0)
        result = await super().transact(transaction, *args, **kwargs)
        if any(compare.key == QUOTA_KEY for compare in transaction.compares) and len(transaction.compares) > 1:
            self.tried += 1
            self.done += result.succeeded
        return result


@asynccontextmanager
async def servers(store: MemoryStore, count: int) -> AsyncIterator[list[ApiServer]]:
    every = [ApiServer(ApiServerSettings(f"s{number}", **SETTINGS), store) for number in range(count)]
    try:
        for server in every:
            await server.start()
        yield every
    finally:
        for server in every:
            await server.stop()
        await store.close()


def pod(name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "host/true"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def limited(session: aiohttp.ClientSession, url: str, pods: int) -> None:
    """Make a quota whose use is known, as the controller leaves it."""
    quota: dict[str, Any] = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    async with session.post(url + QUOTAS, json={**quota, "spec": {"hard": {"pods": str(pods)}}}) as answer:
        assert answer.status == 201
        made = await answer.json()
    made["status"] = {"hard": {"pods": str(pods)}, "used": {"pods": "0"}}
    async with session.put(f"{url}{QUOTAS}/q/status", json=made) as answer:
        assert answer.status == 200


async def create(session: aiohttp.ClientSession, url: str, name: str) -> tuple[int, Any]:
    async with session.post(url + PODS, json=pod(name)) as answer:
        return answer.status, await answer.json()


async def _exactly(limit: int, wanted: int, count: int) -> CountingStore:
    store = CountingStore()
    async with servers(store, count) as every, aiohttp.ClientSession() as session:
        await limited(session, every[0].url, limit)
        await asyncio.gather(*(one._cache.fresh() for one in every))
        store.tried = store.done = 0
        urls = [every[number % count].url for number in range(wanted)]
        answers = await asyncio.gather(*(create(session, url, f"p{n}") for n, url in enumerate(urls)))
        codes = sorted(code for code, _ in answers)
        assert codes == [201] * min(limit, wanted) + [403] * max(wanted - limit, 0)
        for message in _messages(answers):
            assert message.endswith(f"exceeded quota: q, requested: pods=1, used: pods={limit}, limited: pods={limit}")
        async with session.get(f"{every[0].url}{QUOTAS}/q") as answer:
            assert (await answer.json())["status"]["used"] == {"pods": str(min(limit, wanted))}
        async with session.get(f"{every[-1].url}{PODS}") as answer:
            assert len((await answer.json())["items"]) == min(limit, wanted)
    return store


def _messages(answers: list[tuple[int, Any]]) -> Iterator[str]:
    return (document["message"] for code, document in answers if code == 403)


def test_two_servers_never_give_more_than_there_is() -> None:
    store = asyncio.run(_exactly(limit=120, wanted=200, count=2))
    assert store.done == 120
    # Each success of one server can defeat at most one transaction of the other.
    assert store.tried <= 2 * 120


def test_one_server_never_loses_a_transaction() -> None:
    store = asyncio.run(_exactly(limit=50, wanted=80, count=1))
    assert (store.tried, store.done) == (50, 50)


def test_what_fits_is_all_taken() -> None:
    store = asyncio.run(_exactly(limit=500, wanted=200, count=2))
    assert store.done == 200
    assert store.tried <= 2 * 200
