"""pysyncobj as the chassis of our Raft: its state and life cycle, with every decision that loses data taken over.

This is the only module that imports pysyncobj. The library has no hooks where we need them, so the methods concerned
are overridden under their mangled names; the version is pinned and `check_library` refuses to start if a name is gone.
`raft.Raft` builds on the plain names given here. The library opens no socket, starts no thread and writes no file.
"""

# ruff: noqa: ARG002, N803 - the library's names

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from oarlock.consensus.journal import Entry, Journal

PINNED_VERSION = "0.3.17"
FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
NO_OP = b"\x01"
"""The library's entry without effect, written at the start of each term and as the first of a log."""

OVERRIDDEN = (
    "__onMessageReceived", "__generateRaftTimeout", "__sendAppendEntries", "__doApplyCommand", "__tryLogCompaction",
    "__loadDumpFile", "__sendNextNodeIdx",
)  # fmt: skip
CALLED = ("__setCurrentTerm", "__setState", "__onBecomeLeader", "__onNodeConnected", "__onNodeDisconnected")
ATTRIBUTES = (
    "__raftState", "__raftCurrentTerm", "__votedForNodeId", "__raftLeader", "__raftElectionDeadline", "__raftLog",
    "__raftCommitIndex", "__raftLastApplied", "__raftNextIndex", "__raftMatchIndex", "__lastResponseTime",
    "__connectedNodes", "__needLoadDumpFile",
)  # fmt: skip


class UnsuitableLibrary(Exception):
    """The installed pysyncobj isn't the one that our overrides were made and tested for."""


def check_library(library: type = SyncObj, version: str = VERSION) -> None:
    """Raise UnsuitableLibrary unless pysyncobj is the pinned version and has every method that we override or call."""
    if version != PINNED_VERSION:
        raise UnsuitableLibrary(f"pysyncobj {version} is installed, the store needs {PINNED_VERSION}")
    missing = [name for name in OVERRIDDEN + CALLED if not hasattr(library, "_SyncObj" + name)]
    if missing:
        raise UnsuitableLibrary(f"pysyncobj {version} lacks {', '.join(missing)}, which the store overrides")


class _Member(Node):  # type: ignore[misc]
    """A member, one object for each, so that looking it up needs no Python code."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType]
    __ne__ = object.__ne__  # pyright: ignore[reportAssignmentType]


class _LibraryLog:
    """Our journal in the shape of the library's."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, command: bytes, index: int, term: int) -> None:
        self._journal.append(Entry(command, index, term))

    def __len__(self) -> int:
        return len(self._journal)

    def __getitem__(self, position: int) -> Entry:
        index = self._journal.last_index + 1 + position if position < 0 else self._journal.first_index + position
        entry = self._journal.at(index)
        if entry is None:
            raise IndexError(position)
        return entry

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        self._journal.set_hard_state(term, voted_for)

    def _destroy(self) -> None:
        self._journal.close()


class _Silent(Transport):  # type: ignore[misc]
    """No transport: messages travel by `Raft`'s own."""

    def send(self, node: Any, message: Any) -> bool:
        raise AssertionError(f"pysyncobj sent {message!r} to {node}: an override is missing")


class Chassis(SyncObj):  # type: ignore[misc]
    """Raft's state under plain names, kept in pysyncobj's attributes."""

    _SyncObj__raftState: int
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: str | None
    _SyncObj__raftLeader: Any
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftNextIndex: dict[Any, int]
    _SyncObj__raftMatchIndex: dict[Any, int]
    _SyncObj__lastResponseTime: dict[Any, float]
    _SyncObj__connectedNodes: set[Any]
    _SyncObj__setCurrentTerm: Callable[[int, str | None], None]
    _SyncObj__setState: Callable[[int], None]
    _SyncObj__onBecomeLeader: Callable[[], None]
    _SyncObj__onNodeConnected: Callable[[Any], None]
    _SyncObj__onNodeDisconnected: Callable[[Any], None]

    def __init__(
        self,
        name: str,
        peers: Sequence[str],
        journal: Journal,
        *,
        heartbeat_s: float,
        election_s: tuple[float, float],
        rng: random.Random,
    ) -> None:
        check_library()
        self.rng = rng
        self._election_s = election_s
        configuration = SyncObjConf(
            autoTick=False,
            dynamicMembershipChange=False,
            commandsWaitLeader=False,
            appendEntriesUseBatch=True,  # without it the library opens a pipe
            appendEntriesPeriod=heartbeat_s,
            raftMinTimeout=election_s[0],
            raftMaxTimeout=election_s[1],
            connectionTimeout=election_s[1] + 1,
        )
        self._nodes = {peer: _Member(peer) for peer in sorted(peers)}
        super().__init__(
            _Member(name), list(self._nodes.values()), conf=configuration, transport=_Silent(None, None, None)
        )
        missing = [attribute for attribute in ATTRIBUTES if not hasattr(self, "_SyncObj" + attribute)]
        if missing:
            raise UnsuitableLibrary(f"pysyncobj {VERSION} lacks {', '.join(missing)}, which the store uses")
        self._take_over(journal)

    def _take_over(self, journal: Journal) -> None:
        """Put our journal in the place of the library's, which nothing has read yet because nothing has ticked."""
        if not len(journal):
            journal.append(Entry(NO_OP, 1, 0))
            journal.set_newcomer(bool(self._nodes))
            journal.sync()
        self._SyncObj__raftLog = _LibraryLog(journal)
        self._SyncObj__raftCurrentTerm = max(journal.term, journal.last_term)
        self._SyncObj__votedForNodeId = journal.vote if journal.term >= journal.last_term else None
        self._SyncObj__raftCommitIndex = 1  # learnt anew, never trusted from disk
        self._SyncObj__needLoadDumpFile = False

    # Raft's state under plain names.

    @property
    def state(self) -> int:
        return self._SyncObj__raftState

    @property
    def term(self) -> int:
        return self._SyncObj__raftCurrentTerm

    @property
    def vote(self) -> str | None:
        return self._SyncObj__votedForNodeId

    @property
    def leader(self) -> str:
        return "" if self._SyncObj__raftLeader is None else str(self._SyncObj__raftLeader.id)

    @property
    def commit_index(self) -> int:
        return self._SyncObj__raftCommitIndex

    @property
    def applied(self) -> int:
        return self._SyncObj__raftLastApplied

    @property
    def election_deadline(self) -> float:
        return self._SyncObj__raftElectionDeadline

    @election_deadline.setter
    def election_deadline(self, time: float) -> None:
        self._SyncObj__raftElectionDeadline = time

    def set_commit_index(self, index: int) -> None:
        assert index >= self._SyncObj__raftCommitIndex, "the commit index never falls"
        self._SyncObj__raftCommitIndex = index

    def set_applied(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    def set_leader(self, name: str) -> None:
        """Note who leads; "" for nobody."""
        self._SyncObj__raftLeader = self._nodes.get(name)

    def set_term(self, term: int, vote: str | None) -> None:
        """Enter a term, or vote in it; goes into the journal's next batch."""
        assert term > self.term or (term == self.term and self.vote in {None, vote}), (
            "terms and votes are never taken back"
        )
        self._SyncObj__setCurrentTerm(term, vote)

    def set_state(self, state: int) -> None:
        self._SyncObj__setState(state)

    def become_leader(self) -> None:
        """Lead: appends the term's first entry and sends it."""
        self._SyncObj__onBecomeLeader()

    # What the leader knows of its followers.

    def next_index(self, peer: str) -> int:
        return self._SyncObj__raftNextIndex[self._nodes[peer]]

    def set_next_index(self, peer: str, index: int) -> None:
        self._SyncObj__raftNextIndex[self._nodes[peer]] = index

    def match_index(self, peer: str) -> int:
        return self._SyncObj__raftMatchIndex[self._nodes[peer]]

    def set_match_index(self, peer: str, index: int) -> None:
        self._SyncObj__raftMatchIndex[self._nodes[peer]] = index

    def heard_at(self, peer: str) -> float:
        return self._SyncObj__lastResponseTime[self._nodes[peer]]

    def set_heard_at(self, peer: str, time: float) -> None:
        self._SyncObj__lastResponseTime[self._nodes[peer]] = time

    def connected(self, peer: str) -> bool:
        return self._nodes[peer] in self._SyncObj__connectedNodes

    def set_connected(self, peer: str, *, up: bool) -> None:
        if up:
            self._SyncObj__onNodeConnected(self._nodes[peer])
        else:
            self._SyncObj__onNodeDisconnected(self._nodes[peer])

    def peers(self) -> Iterator[str]:
        return iter(self._nodes)

    def is_peer(self, name: str) -> bool:
        return name in self._nodes

    def election_timeout(self) -> float:
        """Return a random election timeout in seconds."""
        return self.rng.uniform(*self._election_s)

    # Overrides.

    def replicate(self, *, heartbeat: bool = False) -> None:
        """Send followers what they lack."""
        raise NotImplementedError

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self.election_timeout()

    def _SyncObj__sendAppendEntries(self) -> None:
        self.replicate()

    def _SyncObj__onMessageReceived(self, node: Any, message: Any) -> None:
        raise AssertionError("messages arrive by Raft.receive")

    def _SyncObj__sendNextNodeIdx(self, *arguments: Any, **options: Any) -> None:
        raise AssertionError("acknowledgements leave by Raft alone")

    def _SyncObj__doApplyCommand(self, command: Any) -> None:
        raise AssertionError("entries are applied by Raft alone")

    def _SyncObj__tryLogCompaction(self) -> None:
        raise AssertionError("the log is compacted by Raft alone")

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        raise AssertionError("snapshots are loaded by Raft alone")
