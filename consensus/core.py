"""What the parts of Raft share: the journal, the driver, the clock, and messages that wait for the disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from oarlock.consensus.chassis import LEADER, Chassis
from oarlock.consensus.journal import Commit, Journal
from oarlock.consensus.messages import RaftMessage


class Times(NamedTuple):
    """Seconds. Elections begin `election_min_s` to `election_max_s` after the leader was last heard from.

    These rule when a leader goes silent; when its connections break, the election begins at once. A heartbeat wakes
    each process up to three times, which is nearly all that an idle replica costs.
    """

    heartbeat_s: float = 0.1
    election_min_s: float = 0.35
    election_max_s: float = 0.7


class Outbox(Protocol):
    """Where messages leave. `send` queues and may lose them; `flush` puts the queue on the wire."""

    def send(self, peer: str, message: RaftMessage) -> None: ...

    def flush(self) -> None: ...


class Driver(Outbox, Protocol):
    """What Raft asks of its surroundings."""

    def write(self, commit: Commit) -> None:
        """Write a journal batch, in a thread or at once, then call `Raft.written`."""
        ...

    def wake(self) -> None:
        """Call `Raft.turn` soon."""
        ...

    def create_future(self) -> asyncio.Future[Any]: ...


class GroupCommit:
    """One journal batch at a time on its way to disk, and the messages that may leave once it is there."""

    def __init__(self, journal: Journal, driver: Driver) -> None:
        self._journal = journal
        self._driver = driver
        self._waiting: list[tuple[str, RaftMessage]] = []
        self._writing: tuple[Commit, list[tuple[str, RaftMessage]]] | None = None

    @property
    def busy(self) -> bool:
        """True while a batch is on its way."""
        return self._writing is not None

    def send(self, peer: str, message: RaftMessage) -> None:
        """Send once everything in the journal's buffer is on disk."""
        self._waiting.append((peer, message))

    def begin(self) -> None:
        """Write what is buffered, unless a batch is on its way; what waits for nothing leaves at once."""
        if self._writing is not None:
            return
        messages, self._waiting = self._waiting, []
        if self._journal.dirty:
            commit = self._journal.take()
            self._writing = commit, messages
            self._driver.write(commit)
        else:
            self._release(messages)

    def end(self, commit: Commit) -> None:
        """The batch is on disk: what waited for it leaves."""
        assert self._writing is not None, "one batch at a time"
        assert self._writing[0] is commit, "one batch at a time"
        messages = self._writing[1]
        self._writing = None
        self._journal.done(commit)
        self._release(messages)

    def _release(self, messages: list[tuple[str, RaftMessage]]) -> None:
        for peer, message in messages:
            self._driver.send(peer, message)
        if messages:
            self._driver.flush()


class Core(Chassis):
    """The chassis with its surroundings: all that elections, following and leading have in common."""

    def __init__(
        self,
        name: str,
        peers: Sequence[str],
        journal: Journal,
        driver: Driver,
        times: Times,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.name = name
        self.journal = journal
        self.driver = driver
        self.times = times
        self.clock = clock
        self.disk = GroupCommit(journal, driver)
        self.quorum = (len(peers) + 1) // 2 + 1
        """Members, this one included, that make a majority."""
        super().__init__(
            name,
            peers,
            journal,
            heartbeat_s=times.heartbeat_s,
            election_s=(times.election_min_s, times.election_max_s),
            rng=rng,
        )

    @property
    def is_leader(self) -> bool:
        return self.state == LEADER

    def step_down(self, term: int, leader: str = "") -> None:
        """Be a follower, in a newer term if `term` is one."""
        raise NotImplementedError

    def lead(self) -> None:
        """Begin to lead in this term, which a majority has voted for."""
        raise NotImplementedError
