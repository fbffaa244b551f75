"""The cluster on our Raft, with the test as the driver: no loop, no threads, no sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from holes.cluster import Cluster, Outcome, Sent

from oarlock.consensus.journal import Commit, open_journal
from oarlock.consensus.messages import (
    Append,
    AppendReply,
    Hello,
    Inquiry,
    RaftMessage,
    SnapshotPiece,
    SnapshotReply,
    Standing,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from oarlock.consensus.raft import Raft, Times
from oarlock.consensus.snapshot import SnapshotFolder
from oarlock.consensus.storage import Folder, Identity, SeatLost

KINDS: dict[type, str] = {
    Append: "append", AppendReply: "append reply", VoteRequest: "vote request", VoteReply: "vote",
    SnapshotPiece: "snapshot", SnapshotReply: "snapshot reply", TimeoutNow: "timeout now", Inquiry: "inquiry",
    Standing: "standing",
}  # fmt: skip


class Ledger:
    """The state machine: a list of what was proposed."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, index: int, entry: bytes) -> object:
        self.entries.append(entry)
        return entry

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.entries)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.entries = b"".join(chunks).split(b"\n")


class Member:
    """One replica: Raft, its folder and its ledger. The driver of `raft`."""

    def __init__(self, cluster: Ours, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._awake = True
        folder = cluster.data_dir(name)
        self.ledger = cluster.machine()
        self.folder = Folder(folder, Identity("holes", name))
        try:
            self.journal = open_journal(self.folder)
        except BaseException:
            self.folder.close()
            raise
        self.raft = Raft(
            name, cluster.names.replace(name, ""), self.journal, SnapshotFolder(folder / "snapshots"), self.ledger,
            self, times=Times(), clock=lambda: cluster.now, rng=random.Random(f"{name} {cluster.now}"),
        )  # fmt: skip
        self.folder.begin()

    def send(self, peer: str, message: RaftMessage) -> None:
        self._cluster.send(Sent(self._name, peer, KINDS[type(message)], message))

    def flush(self) -> None: ...

    def wake(self) -> None:
        self._awake = True

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._cluster.loop)

    def write(self, commit: Commit) -> None:
        commit.write()
        self.raft.written(commit)

    def turn(self) -> None:
        self._awake = True
        while self._awake:
            self._awake = False
            self.raft.turn()


class Ours(Cluster):
    """Members run our Raft."""

    hardened = True

    def __init__(self, folder: Path, size: int = 3, *, machine: type[Ledger] = Ledger) -> None:
        self.machine = machine
        self.lost: dict[str, str] = {}
        """Members that have stopped themselves because another folder has their seat, and what they said."""
        self.loop = asyncio.new_event_loop()
        super().__init__(folder, size)

    def close(self) -> None:
        for name in list(self.members):
            self.crash(name)
        self.loop.close()

    def data_dir(self, name: str) -> Path:
        return self.folder / name

    def boot(self, name: str) -> None:
        member = self.members[name] = Member(self, name)
        for peer in self.names.replace(name, ""):
            member.raft.peer_up(peer)

    def crash(self, name: str) -> None:
        member = self.members.pop(name)
        member.raft.stop()
        member.journal.close()
        member.folder.close()

    def tick(self, name: str) -> None:
        member = self.members[name]
        if self.now >= member.raft.deadline:
            member.raft.tick()
        member.turn()

    def receive(self, sent: Sent) -> None:
        member = self.members[sent.receiver]
        if sent.sender in self.members and not self._is_let_in(sent.sender, sent.receiver):
            return
        member.raft.receive(sent.sender, sent.message)
        member.turn()

    def _is_let_in(self, sender: str, receiver: str) -> bool:
        """As if each message came on a connection of its own, which only a member that has its seat can open."""
        here, there = self.members[sender].raft.seats, self.members[receiver].raft.seats
        told = receiver
        try:
            refusal = there.refusal(here.introduce(Hello("", "", sender, receiver)), None)
            told = sender
            here.heard(receiver, refusal)
        except SeatLost as lost:
            self.lost[told] = str(lost)
            self.crash(told)
            return False
        return not refusal

    def propose(self, name: str, data: bytes) -> Outcome:
        outcome = Outcome()
        future = self.members[name].raft.propose(data)
        future.add_done_callback(lambda done: outcome.settle(acknowledged=done.exception() is None))
        return outcome

    def step(self, *, deliver: bool = True) -> None:
        super().step(deliver=deliver)
        self.loop.call_soon(self.loop.stop)  # tells the proposers whose futures are done
        self.loop.run_forever()

    def leads(self, name: str) -> bool:
        return bool(self.members[name].raft.is_leader)

    def term(self, name: str) -> int:
        return int(self.members[name].raft.term)

    def state(self, name: str) -> list[bytes]:
        return list(self.members[name].ledger.entries)

    def log(self, name: str) -> list[tuple[int, bytes]]:
        journal = self.members[name].journal
        return [(entry.index, entry.data) for entry in journal.after(journal.first_index - 1, 1 << 30)]

    def commit_index(self, name: str) -> int:
        return int(self.members[name].raft.commit_index)

    def set_election(self, name: str, at: float) -> None:
        self.members[name].raft.election_deadline = at

    def compact(self, name: str) -> None:
        raft = self.members[name].raft
        writer = raft.begin_snapshot()
        while writer.step():
            pass
        writer.publish()
        raft.compact(keep_bytes=0)
        self.run(0.1)
