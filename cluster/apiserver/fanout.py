"""Telling watchers of changes, some in each turn of the loop: requests have their turns between.

What comes while a watcher waits for its turn reaches it together with what it waits for. So the more there is to tell,
the fewer pieces it is told in, and neither the cache nor who reads from it waits for the telling.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from itertools import chain

from oarlock.cluster.apiserver.audience import Audience
from oarlock.cluster.apiserver.entries import Change, Watcher

log = logging.getLogger(__name__)

TOLD_AT_ONCE = 8
"""Watchers that are told in one turn of the loop."""
UNTOLD_MAX = 500_000
"""Changes that wait to be told, each counted for each of its watchers; with more, no further ones are taken in."""


class Fanout:
    """Who has yet to be told of what. It tells by itself once `begin` was called."""

    def __init__(self) -> None:
        self._due: OrderedDict[tuple[Audience, Watcher], tuple[int, list[list[Change]]]] = OrderedDict()
        """What each has yet to be told of, and the revision before it; those that wait longest come first."""
        self._untold = 0
        self._is_telling = False
        self._room: asyncio.Future[None] | None = None

    @property
    def told(self) -> int | None:
        """Everybody has been told of all changes up to this revision; None: of all that were added."""
        return next(iter(self._due.values()))[0] if self._due else None

    def add(self, audience: Audience, changes: list[Change], after: int) -> None:
        """Have everybody told whom the changes concern: newer ones than revision `after`, as none before were."""
        due = self._due
        for watchers, told in audience.concerned(changes):
            count = len(told)
            for watcher in watchers:
                self._untold += count
                key = (audience, watcher)
                waiting = due.get(key)
                if waiting is None:
                    due[key] = (after, [told])
                else:
                    waiting[1].append(told)

    def begin(self) -> None:
        """Tell the first now, unless others are being told; the rest in later turns."""
        if self._due and not self._is_telling:
            self._tell()

    async def room(self) -> None:
        """Wait while too much is untold."""
        while self._untold > UNTOLD_MAX:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def clear(self) -> None:
        """Tell nobody any more: the watchers are lost."""
        self._due.clear()
        self._untold = 0
        self._has_room()

    def _tell(self) -> None:
        due = self._due
        last, together = list[list[Change]](), list[Change]()
        for _ in range(min(TOLD_AT_ONCE, len(due))):
            (audience, watcher), (_, waiting) = due.popitem(last=False)
            if len(waiting) == 1:
                changes = waiting[0]
            else:
                # Most wait for the same: they are told by one list.
                if waiting != last:
                    last, together = waiting, list(chain.from_iterable(waiting))
                changes = together
            self._untold -= len(changes)
            if watcher in audience:
                _deliver(audience, watcher, changes)
        self._is_telling = bool(due)
        if due:
            asyncio.get_running_loop().call_soon(self._tell)
        if self._untold <= UNTOLD_MAX:
            self._has_room()

    def _has_room(self) -> None:
        waiter, self._room = self._room, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _deliver(audience: Audience, watcher: Watcher, changes: list[Change]) -> None:
    """Deliver to one watcher; a fault in it ends its own watch, never the cache's."""
    try:
        watcher.deliver(changes)
    except Exception:
        log.exception("watcher failed and is dropped key=%s", changes[0].key.decode(errors="replace"))
        audience.discard(watcher)
        watcher.lost()
