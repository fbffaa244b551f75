"""Telling watchers of changes in rounds, some in each turn of the loop: requests have their turns between.

What comes while a watcher waits for its turn reaches it together with what it waits for. So the more there is to tell,
the fewer pieces it is told in, and neither the cache nor who reads from it waits for the telling (decision 0043).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from oarlock.cluster.apiserver.audience import Audience
from oarlock.cluster.apiserver.entries import Batch, Change, Watcher

log = logging.getLogger(__name__)

TOLD_AT_ONCE = 8
"""Watchers that are told in one turn of the loop."""
REST = 1.0
REST_S_MIN, REST_S_MAX = 0.001, 0.004
"""After a round nobody is told for REST times as long as it took, but for the last at most, and not at all if that is
less than the first: the more it costs to tell everybody of a change, the more changes share that.
"""
UNTOLD_MAX = 500_000
"""Changes that wait to be told, each counted for each of its watchers; with more, no further ones are taken in."""


class _Group:
    """Watchers who are told of the same changes, one after another; each waits for those behind what it was told.

    Changes are counted from the first that was added.
    """

    __slots__ = ("_audience", "_batches", "_changes", "_first", "_members", "_next", "_reached", "_round_end")

    def __init__(self, audience: Audience, members: tuple[Watcher, ...]) -> None:
        self._audience = audience
        self._members = members
        self._reached = [0] * len(members)
        """How many changes each has been told of."""
        self._changes: list[Change] = []
        self._first = 0
        """How many changes everybody has been told of: they are held no longer."""
        self._batches: dict[int, Batch] = {}
        """All changes from a number on."""
        self._next = self._round_end = 0

    @property
    def size(self) -> int:
        """How many watchers there are."""
        return len(self._members)

    @property
    def is_through(self) -> bool:
        """Whether everybody had a turn in this round."""
        return self._next == len(self._members)

    @property
    def told(self) -> int:
        """Everybody has been told of all changes up to this revision, if not beyond. There must be changes."""
        return self._changes[0].revision - 1

    def add(self, changes: Batch) -> None:
        """Add changes to what everybody waits for."""
        self._changes += changes
        self._batches.clear()

    def begin(self) -> None:
        """Begin a round."""
        self._next = 0
        self._round_end = self._first + len(self._changes)

    def tell(self, most: int) -> tuple[int, int]:
        """Tell so many at most; return how many it were, and of how many changes in all.

        Those who have left meanwhile are told nothing, and count.
        """
        end = self._first + len(self._changes)
        members, reached, present = self._members, self._reached, self._audience.present
        told = changes = 0
        while told < most and self._next < len(members):
            watcher, start = members[self._next], reached[self._next]
            reached[self._next] = end
            self._next += 1
            if start < end:
                told += 1
                changes += end - start
                if watcher in present:
                    self._deliver(watcher, self._batches.get(start) or self._batch(start))
        return told, changes

    def end(self) -> bool:
        """End the round; return whether anybody waits for what came meanwhile."""
        count = self._round_end - self._first
        del self._changes[:count]
        self._first = self._round_end
        self._batches.clear()
        return bool(self._changes)

    def _batch(self, start: int) -> Batch:
        made = self._batches[start] = Batch(self._changes[start - self._first :])
        return made

    def _deliver(self, watcher: Watcher, batch: Batch) -> None:
        """Deliver to one watcher; a fault in it ends its own watch, never the cache's."""
        try:
            watcher.deliver(batch)
        except Exception:
            log.exception("watcher failed and is dropped key=%s", batch[0].key.decode(errors="replace"))
            self._audience.discard(watcher)
            watcher.lost()


class Fanout:
    """Who has yet to be told of what. It tells by itself once `begin` was called."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}
        """Those in which somebody waits, by their members' identity."""
        self._round: deque[tuple[int, _Group]] = deque()
        """Those of them that this round has yet to tell."""
        self._is_open = True
        """No round is being told or rested from."""
        self._began_s = 0.0
        self._untold = 0
        self._room: asyncio.Future[None] | None = None

    @property
    def told(self) -> int | None:
        """Everybody has been told of all changes up to this revision; None: of all that were added."""
        return min((group.told for group in self._groups.values()), default=None)

    def add(self, audience: Audience, changes: list[Change]) -> None:
        """Have everybody told whom the changes concern: newer ones than any before, or of the same revision."""
        for members, its in audience.concerned(changes):
            group = self._groups.get(id(members))
            if group is None:
                group = self._groups[id(members)] = _Group(audience, members)
            group.add(its)
            self._untold += group.size * len(its)

    def begin(self) -> None:
        """Begin a round with all who wait, unless one is being told or rested from: the next will follow then."""
        if self._groups and self._is_open:
            self._is_open = False
            self._round.extend(self._groups.items())
            for group in self._groups.values():
                group.begin()
            self._began_s = time.perf_counter()
            self._tell()

    async def room(self) -> None:
        """Wait while too much is untold."""
        while self._untold > UNTOLD_MAX:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def clear(self) -> None:
        """Tell nobody any more: the watchers are lost."""
        self._groups.clear()
        self._round.clear()
        self._untold = 0
        self._has_room()

    def _tell(self) -> None:
        left = TOLD_AT_ONCE
        while left and self._round:
            identity, group = self._round[0]
            told, changes = group.tell(left)
            if not self._round:
                break  # a watcher has had everything cleared
            self._untold -= changes
            left -= told
            if group.is_through:
                self._round.popleft()
                if not group.end():
                    del self._groups[identity]
        if self._round:
            asyncio.get_running_loop().call_soon(self._tell)
        else:
            self._rest()
        if self._untold <= UNTOLD_MAX:
            self._has_room()

    def _rest(self) -> None:
        rest_s = min(REST * (time.perf_counter() - self._began_s), REST_S_MAX)
        if rest_s >= REST_S_MIN:
            asyncio.get_running_loop().call_later(rest_s, self._rested)
        elif self._groups:
            asyncio.get_running_loop().call_soon(self._rested)
        else:
            self._is_open = True

    def _rested(self) -> None:
        self._is_open = True
        self.begin()

    def _has_room(self) -> None:
        waiter, self._room = self._room, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
