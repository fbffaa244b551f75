"""The seam between Raft and the state machine: what each promises the other.

`replica.Replica` implements `ReplicatedLog`; the MVCC machine's owner implements `StateMachine`. Everything here runs
on one event loop in one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from oarlock.consensus.model import Unavailable

ENTRY_BYTES_MAX = 4 << 20
"""The longest entry that `propose` takes; larger than any transaction that the store allows, in any encoding."""

LeadershipCallback = Callable[[bool, int], None]
"""Called as `callback(leads, term)`."""
DelayCallback = Callable[[float], None]
"""Called as `callback(seconds)`."""


class NotLeader(Unavailable):
    """This replica does not lead: certainly not carried out. `leader` is the leader's name, "" while none is known."""

    def __init__(self, leader: str = "") -> None:
        super().__init__(f"not the leader, ask {leader}" if leader else "no leader is known")
        self.leader = leader


class Overloaded(Unavailable):
    """The queue of proposals is full: certainly not carried out, try again later."""


class StateMachine(Protocol):
    """What the log drives: the same entries in the same order on every replica give the same state."""

    def apply(self, index: int, entry: bytes) -> object:
        """Apply one committed entry and return its outcome, which resolves the proposer's future on this replica.

        Deterministic: no clock, no randomness, no IO. Never raises: an exception stops the replica. Entries proposed in
        one turn of the event loop share a log index, so `index` never falls but may repeat.
        """
        ...

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as of this call, as chunks of at most about 256 KiB.

        The chunks are drawn one at a time while further entries are applied; they must describe the state at the time
        of the call, and drawing one must take no more than a few milliseconds.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by a snapshot's. The chunks have been verified; an exception stops the replica."""
        ...


class ReplicatedLog(Protocol):
    """An ordered, durable, replicated log of opaque entries."""

    @property
    def name(self) -> str:
        """This member's name."""
        ...

    @property
    def is_leader(self) -> bool:
        """True while this replica leads as far as it knows; only `read_index` makes sure."""
        ...

    @property
    def leader(self) -> str:
        """The leader's name, "" while none is known."""
        ...

    @property
    def term(self) -> int: ...

    @property
    def applied(self) -> int:
        """The index of the last entry applied to the state machine."""
        ...

    @property
    def last_index(self) -> int:
        """The index of the last entry in this replica's log, committed or not."""
        ...

    def propose(self, entry: bytes) -> asyncio.Future[Any]:
        """Append an entry; the future gives the state machine's outcome once this replica has applied it.

        By then it is on the disks of a majority. Entries keep the order of the calls. The future fails with NotLeader
        or Overloaded (certainly not done), or with model.UnknownOutcome (leadership was lost on the way: may be done or
        yet be done). Entries longer than ENTRY_BYTES_MAX fail with model.InvalidRequest.
        """
        ...

    def read_index(self) -> asyncio.Future[int]:
        """Return the applied index once a read of the state machine is linearizable.

        That is: after this call a majority has confirmed that this replica leads, and everything acknowledged by then
        is applied. Calls of one turn share a round. Fails with NotLeader. Source: Raft thesis 6.4.
        """
        ...

    def on_leadership(self, callback: LeadershipCallback) -> None:
        """Have `callback(True, term)` called when this replica has become leader and its state is complete, and
        `callback(False, term)` as soon as it leads no more. Called on the event loop; must not raise."""
        ...

    def on_delay(self, callback: DelayCallback) -> None:
        """Have `callback(seconds)` called when this process turns out not to have run for so long while it led."""
        ...
