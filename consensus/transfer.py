"""Handing leadership over without an election timeout: the heir is brought up to date, then told to stand at once.

Source: Raft thesis 3.10.
"""

from __future__ import annotations

import asyncio

from oarlock.consensus.core import Core
from oarlock.consensus.log import NotLeader
from oarlock.consensus.messages import TimeoutNow
from oarlock.consensus.model import Unavailable


class TransferFailed(Unavailable):
    """Leadership stays where it is. The message says why."""


class Transfer:
    """At most one transfer of this leader. While one runs, nothing new may be proposed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._heir = ""
        self._told = False
        self._ends_at = 0.0
        self._future: asyncio.Future[str] | None = None

    @property
    def heir(self) -> str:
        """Who is to lead next, "" if no transfer runs."""
        return self._heir

    def begin(self, target: str | None) -> asyncio.Future[str]:
        """Begin to hand over to `target`, or to whoever has most of the log; the future gives the new leader's name.

        It fails with NotLeader, or with TransferFailed once an election timeout has passed in vain.
        """
        core = self._core
        future: asyncio.Future[str] = core.driver.create_future()
        heir = target or self._best()
        if not core.is_leader:
            future.set_exception(NotLeader(core.leader))
        elif self._heir:
            future.set_exception(TransferFailed(f"leadership is on its way to {self._heir}"))
        elif not heir or not core.is_peer(heir):
            future.set_exception(TransferFailed(f"{heir} is no other member" if heir else "nobody can take over"))
        else:
            self._heir, self._told, self._future = heir, False, future
            self._ends_at = core.clock() + core.times.election_max_s
            core.driver.wake()
        return future

    def go_on(self, *, all_logged: bool) -> None:
        """Tell the heir to stand, once it has the whole log."""
        core = self._core
        if self._heir and all_logged and not self._told and core.match_index(self._heir) == core.journal.last_index:
            self._told = True
            core.driver.send(self._heir, TimeoutNow(core.term))

    def tick(self, now: float) -> None:
        """Give up when an election timeout has passed: this member leads on."""
        if self._heir and now >= self._ends_at:
            self.fail(f"{self._heir} didn't take over in {self._core.times.election_max_s} s")

    def end(self, leader: str) -> None:
        """`leader` is known to lead; "" ends only what was begun."""
        self._heir = ""
        future = self._future
        if leader and future is not None:
            self._future = None
            if not future.done():
                future.set_result(leader)

    def fail(self, reason: str) -> None:
        self._heir = ""
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_exception(TransferFailed(reason))

    def _best(self) -> str:
        core = self._core
        peers = [peer for peer in core.peers() if core.connected(peer)]
        return max(peers, key=core.match_index, default="") if core.is_leader else ""
