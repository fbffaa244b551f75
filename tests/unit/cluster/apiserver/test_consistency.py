"""Several API servers over one store, all but one lagging and dying: nobody reads the past, no watch has a gap.

Writes go through any of them. Each answer is judged against the store's own history: a read must show everything
acknowledged before it was asked for; a watch, resumed from wherever its server left it, must tell every change once and
in order. The same judge is shown servers that are broken on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import orjson
import pytest
from harness.lagging import LaggingWatch

from oarlock.cluster.apiserver.entries import Change
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.apiserver.watchcache import Collection, WatchCache
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import EventKind

MAPS = "/api/v1/namespaces/default/configmaps"
PREFIX = b"/registry/core/configmaps/default/"
SERVERS = 3
WRITES = 100
NAMES = 6
LAG_TURNS_MAX = 40
NUDGE_S = 0.2
PATIENCE_EVENTS_MAX = 8

Seen = list[tuple[str, str, int]]


class LaggingStore:
    """A store whose watches tell everything late, by a number of the loop's turns that `rng` chooses."""

    def __init__(self, store: MemoryStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def watch(self, key: bytes, range_end: bytes, start_revision: int, *, previous: bool = False) -> Any:
        return LaggingWatch(
            self._store.watch(key, range_end, start_revision, previous=previous), self._rng, LAG_TURNS_MAX
        )


class World:
    """The servers, the clients that torment them, and what the clients saw."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.store = MemoryStore()
        self.servers: list[ApiServer] = []
        self.acknowledged = 0
        self.seen: Seen = []
        self.wrong: list[str] = []
        self.watched_up_to = 0
        self.told = asyncio.Condition()
        self.writing = True

    async def start_server(self) -> ApiServer:
        server = ApiServer(ApiServerSettings("test", shutdown_grace_s=0.5), LaggingStore(self.store, self.rng))  # type: ignore[arg-type]
        await server.start()
        return server

    async def live(self) -> None:
        self.servers = [await self.start_server() for _ in range(SERVERS)]
        async with aiohttp.ClientSession() as session:
            watcher = asyncio.create_task(self._watch(session))
            try:
                async with asyncio.timeout(60):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._write(session))
                        group.create_task(self._read(session))
                        group.create_task(self._kill())
                    await self._caught_up(session)
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
                for server in self.servers:
                    await server.stop()
        self._judge_watch(await self.history())

    async def _caught_up(self, session: aiohttp.ClientSession) -> None:
        """Wait until the watch told the last write, with new ones now and then: they show up one that was left out."""
        number = WRITES
        self.acknowledged = (await self.history())[-1][2]
        while not self._is_over():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NUDGE_S), self.told:
                    await self.told.wait_for(self._is_over)
            if not self._is_over():
                number += 1
                await self._write_one(session, number)

    def _is_over(self) -> bool:
        return self.watched_up_to >= self.acknowledged or bool(self.wrong)

    async def _write(self, session: aiohttp.ClientSession) -> None:
        for number in range(WRITES):
            await self._write_one(session, number)
        self.writing = False

    async def _write_one(self, session: aiohttp.ClientSession, number: int) -> None:
        name = f"c{self.rng.randrange(NAMES)}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(number)}}
        method, path = self.rng.choice(
            [("POST", MAPS), ("PUT", f"{MAPS}/{name}"), ("PUT", f"{MAPS}/{name}"), ("DELETE", f"{MAPS}/{name}")]
        )
        with contextlib.suppress(aiohttp.ClientError):
            url = self.rng.choice(self.servers).url + path
            async with session.request(method, url, json=None if method == "DELETE" else body) as answer:
                made = await answer.json()
                version = (made.get("metadata") or {}).get("resourceVersion") if answer.status < 300 else None
                self.acknowledged = max(self.acknowledged, int(version or 0))

    async def _read(self, session: aiohttp.ClientSession) -> None:
        while self.writing:
            before = self.acknowledged
            with contextlib.suppress(aiohttp.ClientError):
                url = (
                    self.rng.choice(self.servers).url + MAPS + self.rng.choice(["", "?limit=500", "?labelSelector=!x"])
                )
                async with session.get(url) as answer:
                    if answer.status != 200:
                        continue
                    found = await answer.json()
                revision = int(found["metadata"]["resourceVersion"])
                if revision < before:
                    self.wrong.append(f"a list at {revision} after {before} was acknowledged")
                shown = {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in found["items"]}
                expected = state_at(await self.history(), revision)
                if shown != expected:
                    self.wrong.append(f"at {revision} there was {expected}, shown was {shown}")

    async def _kill(self) -> None:
        while self.writing:
            await asyncio.sleep(self.rng.random() * 0.05)  # a fault's moment, not an event to wait for
            place = self.rng.randrange(SERVERS)
            fresh = await self.start_server()
            old, self.servers[place] = self.servers[place], fresh
            await old.stop()

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        """Follow through servers that end, each time from the last version told, and leave them early as well."""
        while True:
            patience = self.rng.randrange(1, PATIENCE_EVENTS_MAX)
            url = f"{self.rng.choice(self.servers).url}{MAPS}?watch=1&resourceVersion={self.watched_up_to or 1}"
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    for _ in range(patience):
                        line = await answer.content.readline()
                        if not line:
                            break
                        async with self.told:
                            self._told(orjson.loads(line))
                            self.told.notify_all()
                        if self.wrong:
                            return

    def _told(self, event: Any) -> None:
        metadata = event["object"].get("metadata") or {}
        if event["type"] == "ERROR":
            self.wrong.append(f"a watch from {self.watched_up_to} was refused: {event['object']['message']}")
            return
        self.watched_up_to = int(metadata["resourceVersion"])
        self.seen.append((event["type"], metadata["name"], self.watched_up_to))

    async def history(self) -> Seen:
        """What happened, told by the store itself."""
        told: Seen = []
        alive: set[str] = set()
        present = await self.store.revision()
        watch = self.store.watch(PREFIX, PREFIX[:-1] + b"0", 1)
        try:
            async for batch in watch:
                for event in batch.events:
                    name = event.kv.key.rpartition(b"/")[2].decode()
                    if not event.kv.key.startswith(PREFIX):
                        continue
                    gone = event.kind is EventKind.DELETE
                    kind = "DELETED" if gone else "MODIFIED" if name in alive else "ADDED"
                    (alive.discard if gone else alive.add)(name)
                    told.append((kind, name, event.kv.mod_revision))
                if batch.revision >= present:
                    break
        finally:
            await watch.close()
        return told

    def _judge_watch(self, history: Seen) -> None:
        expected = [one for one in history if not one[1].startswith("kube-")]
        seen = [one for one in self.seen if not one[1].startswith("kube-")]
        if seen != expected[: len(seen)]:
            self.wrong.append(f"the watch told {seen}, what happened is {expected}")
        elif not self.wrong and len(seen) < len(expected):
            self.wrong.append(f"the watch never told {expected[len(seen) :]}")


def state_at(history: Seen, revision: int) -> dict[str, int]:
    """Return what there was at a revision: names with their versions."""
    state: dict[str, int] = {}
    for kind, name, version in history:
        if version <= revision:
            state.pop(name, None)
            if kind != "DELETED":
                state[name] = version
    return state


def lived(seed: int) -> list[str]:
    async def main() -> list[str]:
        world = World(seed)
        try:
            await world.live()
        finally:
            await world.store.close()
        assert world.acknowledged > 0
        return world.wrong

    return asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_reads_are_never_old_and_watches_never_skip(seed: int) -> None:
    assert lived(seed) == []


async def _no_round(cache: WatchCache, timeout_s: float = 10.0) -> int:
    return cache.revision


def _every(number: int, change: Callable[[list[Change]], list[Change]]) -> Any:
    after = Collection.after
    count = iter(range(10**9))

    def broken(collection: Collection, revision: int) -> list[Change] | None:
        found = after(collection, revision)
        return change(found) if found and next(count) % number == 0 else found

    return broken


@contextlib.contextmanager
def sabotaged(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Break every server of the block in one way."""
    with monkeypatch.context() as patch:
        if name == "lists from the cache as it is":
            patch.setattr(WatchCache, "fresh", _no_round)
        elif name == "a resumed watch skips a change":
            patch.setattr(Collection, "after", _every(1, lambda found: found[1:]))
        elif name == "a resumed watch repeats a change":
            patch.setattr(Collection, "after", _every(1, lambda found: [found[0], *found]))
        elif name == "a resumed watch turns changes round":
            patch.setattr(Collection, "after", _every(1, lambda found: found[::-1]))
        elif name == "a new server forgets what was before":
            patch.setattr("oarlock.cluster.apiserver.watchcache.RESUME_REVISIONS", 0)
        yield


@pytest.mark.parametrize(
    "sabotage",
    [
        "lists from the cache as it is",
        "a resumed watch skips a change",
        "a resumed watch repeats a change",
        "a resumed watch turns changes round",
        "a new server forgets what was before",
    ],
)
def test_broken_servers_are_caught(sabotage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with sabotaged(sabotage, monkeypatch):
        assert any(lived(seed) for seed in range(5))
