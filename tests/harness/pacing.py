"""A server that is asked what another was asked, at that one's pace, however fast this machine is.

Recorded answers tell ages and how far controllers had got. Both would hang on how busy the machine is: so time goes on
with the questions, as it did in the recording, and what a question changes is changed when the controllers have done
what the ones before it gave them to do.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from harness.apiserver import RunningApiServer

from oarlock.cluster.apiserver.exchange import Answer, Request, Response, Stream
from oarlock.cluster.apiserver.listing import REACH_TIMEOUT_S
from oarlock.consensus.model import Store

#: How long the recording's server took for the dry run of a create and for another question, by the ages that it told.
TRIED_CREATE_S, OTHER_S = 0.00734, 0.003
#: After this time its client leaves an answer that doesn't end.
CLIENT_S = 60
#: Server and controllers share one loop: when it has turned so often without a write, and given timers their time now
#: and then, there is nothing left to do. A write is some ten turns from its cause.
TURNS, TIMER_S = 160, 0.002
ROUNDS_MAX = 50


class PacedClock:
    """The second when it was made, on another day, and from then on only what has been told to have passed."""

    def __init__(self, day: date) -> None:
        self._now = datetime.combine(day, datetime.now(UTC).timetz()).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self._now

    def passed(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class Pace:
    """Stands before a server's requests. Controllers' are let through; those of a client without a name are paced."""

    def __init__(self, clock: PacedClock, api: RunningApiServer) -> None:
        self._clock, self._store = clock, api.store
        dispatcher: Any = api.server._dispatcher
        self._serve = dispatcher.handle
        dispatcher.handle = self._handle
        self._settled_at = -1
        self._left_at: float | None = None
        """When the last question was asked, if its answer is a watch that its client will leave."""

    async def _handle(self, request: Request) -> Answer:
        if request.headers.get("User-Agent"):
            return await self._serve(request)  # type: ignore[no-any-return]
        if self._left_at is not None:
            self._clock.passed((time.monotonic() - self._left_at) // CLIENT_S * CLIENT_S)
        if request.method != "GET":
            self._settled_at = await settled(self._store, self._settled_at)
        is_tried = request.method == "POST" and request.query.has("dryRun")
        self._clock.passed(TRIED_CREATE_S if is_tried else OTHER_S)
        asked_at = time.monotonic()
        answer: Answer = await self._serve(request)
        self._left_at = None
        if isinstance(answer, Stream):
            lasts_s = int(request.query.get("timeoutSeconds") or 0)
            self._clock.passed(lasts_s)
            self._left_at = None if lasts_s else asked_at
        elif isinstance(answer, Response) and answer.status == 504:
            self._clock.passed(REACH_TIMEOUT_S)
        return answer


async def settled(store: Store, known: int) -> int:
    """Return the store's revision once nobody writes any more; at once if it still is the one that is `known`."""
    revision = await store.revision()
    for _ in range(ROUNDS_MAX):
        if revision == known:
            break
        known = revision
        for turn in range(TURNS):
            await asyncio.sleep(0 if turn % 16 else TIMER_S)
        revision = await store.revision()
    return revision
