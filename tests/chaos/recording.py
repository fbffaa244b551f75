"""Clients that use the store through its real client library and write down what they asked and were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from checking.history import Call, Read, WatchRecord, fold
from harness.replicas import name_of, read_at

from oarlock.consensus.client import StoreClient
from oarlock.consensus.link import Link
from oarlock.consensus.model import Event, Range, RangeResult, StoreError, Unavailable, WatchBatch

T = TypeVar("T")


class Recorder:
    """All calls and watches of a run; `events` are gathered by a watch over everything that never ends.

    `lives` tells how often a replica has been started so far.
    """

    def __init__(self, lives: Callable[[str], int]) -> None:
        self.lives = lives
        self.calls: list[Call] = []
        self.watches: list[WatchRecord] = []
        self.batches: list[WatchBatch] = []
        self.revision = 1
        """How far the events are known."""
        self._grew = asyncio.Event()

    async def call(self, client: int, kind: str, request: Any, answer: Awaitable[T]) -> T | None:
        """Await an answer and put it on record; return None for an error."""
        record = Call(client, kind, request, time.monotonic())
        self.calls.append(record)
        try:
            outcome: Any = await answer
        except StoreError as error:
            outcome = error
        record.returned, record.outcome = time.monotonic(), outcome
        return None if isinstance(outcome, StoreError) else outcome

    async def read_one(self, client: int, link: Link, request: Range, wait_s: float) -> None:
        """Have one replica tell what it holds by itself, and put on record which running process that was."""
        deadline_s = asyncio.get_running_loop().time() + wait_s
        try:
            name = await name_of(link, deadline_s)
        except (StoreError, TimeoutError):
            return
        life = self.lives(name)
        record = Call(client, "range", Read(request, serializable=True), time.monotonic())
        self.calls.append(record)
        try:
            record.outcome = await read_at(link, request, deadline_s)
        except TimeoutError:
            record.outcome = Unavailable("no answer in time")
        except StoreError as error:
            record.outcome = error
        record.returned = time.monotonic()
        if self.lives(name) == life:
            record.replica = f"{name}#{life}"

    async def watch(
        self, client: int, store: StoreClient, key: bytes, range_end: bytes, start: int, *, previous: bool, batches: int
    ) -> None:
        """Read a watch until it ends or has given so many batches."""
        record = WatchRecord(client, key, range_end, start, previous)
        self.watches.append(record)
        watch = store.watch(key, range_end, start, previous=previous)
        try:
            async for batch in watch:
                record.batches.append((time.monotonic(), batch))
                if len(record.batches) >= batches:
                    record.closed = True
                    break
        except StoreError as error:
            record.ended = error
        finally:
            await watch.close()

    async def follow(self, store: StoreClient) -> None:
        """Gather every event, for ever."""
        while True:
            watch = store.watch(b"\0", b"\0", self.revision + 1, previous=True)
            try:
                async for batch in watch:
                    self.batches.append(batch)
                    self.revision = max(self.revision, batch.revision)
                    self._grew.set()
            except StoreError:
                await asyncio.sleep(0.05)

    async def reached(self, revision: int) -> None:
        """Return once all events up to a revision are known."""
        while self.revision < revision:
            self._grew.clear()
            await self._grew.wait()

    def log(self) -> dict[int, tuple[Event, ...]]:
        return fold(self.batches)


async def ask_each(store: StoreClient, request: Range, limit_s: float) -> dict[str, RangeResult | StoreError]:
    """Return what each connected replica answers out of its own state, by its name."""
    deadline_s = asyncio.get_running_loop().time() + limit_s
    answers: dict[str, RangeResult | StoreError] = {}
    for link in list(store._links):
        try:
            name = await name_of(link, deadline_s)
        except (StoreError, TimeoutError):
            continue
        try:
            answers[name] = await read_at(link, request, deadline_s)
        except StoreError as error:
            answers[name] = error
        except TimeoutError:
            continue
    return answers
