"""A watch over the network: one subscription after another, each going on where the last one ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from oarlock.consensus.link import Link
from oarlock.consensus.log import NotLeader
from oarlock.consensus.model import StoreError, Unavailable, UnknownOutcome, WatchBatch
from oarlock.consensus.wire import WATCH_CREDIT, WatchRequest

CREDIT_STEP = WATCH_CREDIT // 2


class RemoteWatch:
    """Implements `model.Watch`. At most `WATCH_CREDIT` batches wait here; the rest waits in the server's history."""

    def __init__(
        self,
        on_closed: Callable[[RemoteWatch], None],
        key: bytes,
        range_end: bytes,
        start_revision: int,
        *,
        previous: bool,
    ) -> None:
        self._on_closed = on_closed
        self._request = WatchRequest(key, range_end, start_revision, previous, WATCH_CREDIT)
        self._next_revision = start_revision
        self._queue: deque[WatchBatch] = deque()
        self._ready = asyncio.Event()
        self._link: Link | None = None
        self._id = 0
        self._owed = 0
        self._failure: StoreError | None = None
        self._closed = False

    def __aiter__(self) -> RemoteWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            self._ready.clear()
            await self._ready.wait()
        self._owed += 1
        if self._owed >= CREDIT_STEP and self._link is not None:
            self._link.credit(self._id, self._owed)
            self._owed = 0
        return self._queue.popleft()

    async def close(self) -> None:
        """Stop watching; batches that wait are dropped."""
        self._closed = True
        self._queue.clear()
        self._ready.set()
        self.unsubscribe()
        self._on_closed(self)

    # What the client and its links call.

    def subscribe(self, link: Link) -> None:
        """Go on at this leader, after the last revision that is here."""
        self.unsubscribe()
        self._link = link
        self._owed = 0
        credit = WATCH_CREDIT - len(self._queue)
        self._id = link.watch(self, self._request._replace(start_revision=self._next_revision, credit=credit))

    def unsubscribe(self) -> None:
        """Expect no more of the present leader."""
        if self._link is not None:
            self._link.cancel(self._id)
            self._link = None

    def fail(self, failure: StoreError) -> None:
        """End the watch; its reader sees the failure after what is here."""
        self._failure = failure
        self._ready.set()
        self.unsubscribe()
        self._on_closed(self)

    def on_batch(self, batch: WatchBatch) -> None:
        self._next_revision = max(self._next_revision, batch.revision + 1)  # a later start stays one
        self._queue.append(batch)
        self._ready.set()

    def on_ended(self, link: Link, error: StoreError) -> None:
        """Wait for the next leader if this one can't serve; otherwise the watch ends."""
        if link is not self._link:
            return
        self._link = None
        if not isinstance(error, NotLeader | UnknownOutcome) and type(error) is not Unavailable:
            self.fail(error)
