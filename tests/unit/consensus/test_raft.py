"""One Raft against a scripted cluster: each way in which stock pysyncobj loses or doubles data, and what ours does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oarlock.consensus.journal import Commit, Entry, Journal
from oarlock.consensus.messages import (
    Append,
    AppendReply,
    Inquiry,
    RaftMessage,
    SnapshotPiece,
    SnapshotReply,
    Standing,
    VoteReply,
    VoteRequest,
    append_reply,
)
from oarlock.consensus.proposals import encode_batch
from oarlock.consensus.raft import Raft, Times
from oarlock.consensus.replication import HEARD_S
from oarlock.consensus.snapshot import SnapshotFolder


class Script:
    """The driver and the state machine of the Raft under test, member "a" of a to e."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.applied: list[bytes] = []
        self.sent: list[tuple[str, RaftMessage]] = []
        self.journal = Journal(folder / "journal")
        self.raft = Raft(
            "a", "bcde", self.journal, SnapshotFolder(folder / "snapshots"), self, self,
            times=Times(), clock=lambda: self.now, rng=random.Random(1),
        )  # fmt: skip
        for peer in "bcde":
            self.raft.peer_up(peer)
        for peer, message in self.sent:
            assert isinstance(message, Inquiry), "the folder is new, and so is the cluster"
            self.raft.receive(peer, Standing(0, message.nonce, 1, blank=True, leads=False))
        self.raft.turn()

    def send(self, peer: str, message: RaftMessage) -> None:
        self.sent.append((peer, message))

    def flush(self) -> None: ...

    def wake(self) -> None: ...

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=asyncio.new_event_loop())

    def write(self, commit: Commit) -> None:
        commit.write()
        self.raft.written(commit)

    def apply(self, index: int, entry: bytes) -> object:
        self.applied.append(entry)
        return index

    def snapshot(self) -> Iterator[bytes]:
        return iter([b",".join(self.applied)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.applied = b"".join(chunks).split(b",")

    def hears(self, peer: str, *messages: RaftMessage) -> list[RaftMessage]:
        """Deliver messages from `peer` and return what it is told in answer."""
        self.sent.clear()
        for message in messages:
            self.raft.receive(peer, message)
        for _ in range(4):
            self.raft.turn()
        return [message for receiver, message in self.sent if receiver == peer]

    def leads(self) -> int:
        """Have "a" elected; return its term."""
        while not any(isinstance(message, VoteRequest) and not message.trial for _, message in self.sent):
            self.now = self.raft.deadline
            self.raft.tick()
            for peer in "bc":
                self.raft.receive(peer, VoteReply(self.raft.term + 1, granted=True, trial=True))
            self.raft.turn()
        for peer in "bc":
            self.hears(peer, VoteReply(self.raft.term, granted=True, trial=False))
        assert self.raft.is_leader
        return self.raft.term


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def batch(term: int, name: bytes) -> tuple[int, bytes]:
    return term, encode_batch([name])


ENTRIES = [batch(1, b"one"), batch(1, b"two"), batch(1, b"three")]


def test_a_late_or_repeated_append_drops_nothing(script: Script) -> None:
    script.hears("b", Append(1, 1, 0, 1, 0, ENTRIES))
    for late in (Append(1, 1, 0, 1, 0, ENTRIES[:1]), Append(1, 1, 0, 1, 0, [])):
        assert isinstance(script.hears("b", late)[-1], AppendReply)
        assert script.journal.last_index == 4
    script.hears("b", Append(1, 4, 1, 4, 0, []))
    assert script.applied == [b"one", b"two", b"three"]


def test_the_commit_index_follows_matched_entries_only(script: Script) -> None:
    script.hears("b", Append(1, 1, 0, 1, 0, ENTRIES))
    (reply,) = script.hears("c", Append(2, 4, 2, 4, 0, []))
    assert (reply, script.raft.commit_index) == (AppendReply(2, matched=False, index=1, previous_index=4, round=0), 1)
    script.hears("c", Append(2, 1, 0, 2, 0, [batch(2, b"other")]))
    assert script.applied == [b"other"]
    assert script.journal.last_index == 2


def test_a_stale_leader_is_told_the_term_and_nothing_that_confirms(script: Script) -> None:
    """The append may be from an earlier life of the present leader, so its round must not be echoed."""
    script.hears("b", Append(5, 1, 0, 1, 0, ENTRIES))
    (reply,) = script.hears("b", Append(4, 1, 0, 1, 40, []))
    assert reply == AppendReply(5, matched=False, index=0, previous_index=-1, round=0)


def test_an_acknowledgement_of_another_term_counts_nothing(script: Script) -> None:
    term = script.leads()
    last = script.journal.last_index
    for peer in "bc":
        script.hears(peer, AppendReply(term - 1, matched=True, index=last, previous_index=1, round=0))
    assert script.raft.commit_index == 1
    for peer in "bc":
        script.hears(peer, AppendReply(term, matched=True, index=last, previous_index=1, round=0))
    assert script.raft.commit_index == last


def test_a_leader_tells_how_long_it_did_not_run(script: Script) -> None:
    script.leads()
    delays: list[float] = []
    script.raft.on_delay(delays.append)
    for late_s in (0.0, 0.01, 2.5, 0.0):
        script.now = script.raft.deadline + late_s
        script.raft.tick()
        script.raft.turn()
    assert delays == [pytest.approx(2.5)]


def test_a_vote_counts_once_and_once_a_term(script: Script, tmp_path: Path) -> None:
    assert script.hears("b", VoteRequest(3, 1, 0, trial=False)) == [VoteReply(3, granted=True, trial=False)]
    assert script.hears("b", VoteRequest(3, 1, 0, trial=False)) == [VoteReply(3, granted=True, trial=False)]
    assert script.hears("c", VoteRequest(3, 9, 2, trial=False)) == [VoteReply(3, granted=False, trial=False)]
    script.journal.close()
    again = Script(tmp_path)
    assert again.hears("c", VoteRequest(3, 9, 2, trial=False)) == [VoteReply(3, granted=False, trial=False)]


def test_one_member_voting_twice_elects_nobody(script: Script) -> None:
    script.now = script.raft.deadline
    script.raft.tick()
    script.now = script.raft.deadline
    script.raft.tick()
    granted = VoteReply(1, granted=True, trial=True)
    script.hears("b", granted, granted, granted)
    assert script.raft.term == 0
    script.hears("c", granted)
    granted = VoteReply(1, granted=True, trial=False)
    script.hears("b", granted, granted, granted)
    assert (script.raft.term, script.raft.is_leader) == (1, False)


def test_a_member_that_was_cut_off_disturbs_nobody(script: Script) -> None:
    for _ in range(50):
        script.now = script.raft.deadline
        script.raft.tick()
        script.raft.turn()
    assert script.raft.term == 0
    script.hears("b", Append(1, 1, 0, 1, 0, ENTRIES))
    assert script.hears("c", VoteRequest(2, 9, 1, trial=True), VoteRequest(2, 9, 1, trial=False)) == []
    assert script.raft.term == 1


def test_a_read_asks_no_more_followers_than_it_takes_but_all_once_one_is_silent(script: Script) -> None:
    def asked() -> dict[str, Append]:
        sent, script.sent = script.sent, []
        return {peer: message for peer, message in sent if isinstance(message, Append)}

    def answer(told: dict[str, Append], peers: str) -> None:
        for peer in peers:
            append = told[peer]
            index = append.previous_index + len(append.entries)
            script.now += 0.001
            script.raft.receive(peer, append_reply(script.raft.term, append, matched=True, index=index))
        script.raft.turn()

    def read() -> tuple[asyncio.Future[int], dict[str, Append]]:
        asking = script.raft.read_index()
        script.raft.turn()
        return asking, asked()

    script.leads()
    script.raft.turn()
    answer(asked(), "bcde")
    first, told = read()
    assert sorted(told) == ["d", "e"], "the last that were heard from"
    answer(told, "d")
    assert not first.done()
    answer(told, "e")
    assert first.done()
    second, told = read()
    assert sorted(told) == ["d", "e"]
    script.now += HEARD_S
    third, told = read()
    assert sorted(told) == ["b", "c", "d", "e"]
    answer(told, "bc")
    assert (second.done(), third.done()) == (True, True)
    fourth, told = read()
    assert sorted(told) == ["b", "c"]
    script.raft.peer_down("c")
    fifth, told = read()
    assert sorted(told) == ["b", "d", "e"], "who can't be reached isn't waited for"
    script.now = script.raft.deadline
    script.raft.tick()
    script.raft.turn()
    answer(asked(), "bd")
    assert (fourth.done(), fifth.done()) == (True, True)


def test_a_leader_without_answers_steps_down(script: Script) -> None:
    script.leads()
    read = script.raft.read_index()
    while script.raft.is_leader:
        script.now = script.raft.deadline
        script.raft.tick()
        script.raft.turn()
    assert script.now < 110
    assert read.exception() is not None


def test_a_snapshot_is_acknowledged_when_loaded_and_never_rewinds(script: Script, tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "leader")
    writer = folder.write(10, 1, iter([b"one,two,", b"ten"]))
    while writer.step():
        pass
    data = writer.publish().path.read_bytes()
    damaged = data[:30] + bytes([data[30] ^ 1]) + data[31:]
    assert script.hears("b", SnapshotPiece(1, 10, 1, 0, damaged, last=True)) == [SnapshotReply(1, 10, 0)]
    assert script.applied == []
    assert script.raft.commit_index == 1
    pieces = [
        SnapshotPiece(1, 10, 1, start, data[start : start + 50], last=start + 50 >= len(data)) for start in (0, 50)
    ]
    assert script.hears("b", *pieces) == [SnapshotReply(1, 10, 50), SnapshotReply(1, 10, -1)]
    assert (script.applied, script.raft.commit_index) == ([b"one", b"two", b"ten"], 10)
    script.hears("b", Append(1, 10, 1, 11, 0, ENTRIES[:1]))
    assert script.hears("b", *pieces)[-1] == SnapshotReply(1, 10, -1)
    assert (script.applied[-1], script.raft.applied, script.journal.last_index) == (b"one", 11, 11)


def test_the_commit_index_is_learnt_anew_after_a_restart(script: Script, tmp_path: Path) -> None:
    script.hears("b", Append(1, 1, 0, 4, 0, ENTRIES))
    assert len(script.applied) == 3
    script.journal.close()
    again = Script(tmp_path)
    again.raft.turn()
    assert (again.raft.commit_index, again.applied) == (1, [])
    again.hears("b", Append(1, 4, 1, 4, 0, []))
    assert again.applied == [b"one", b"two", b"three"]


def test_a_conflict_is_found_in_one_answer_a_term(script: Script) -> None:
    script.hears("b", Append(1, 1, 0, 1, 0, [batch(1, b"x")] * 100))
    (reply,) = script.hears("c", Append(7, 101, 5, 1, 0, []))
    assert reply == AppendReply(7, matched=False, index=1, previous_index=101, round=0)


def test_a_follower_that_lost_its_folder_is_filled_again(script: Script) -> None:
    term = script.leads()
    last = script.journal.last_index
    for peer in "bc":
        script.hears(peer, AppendReply(term, matched=True, index=last, previous_index=1, round=0))
    refused = AppendReply(term, matched=False, index=1, previous_index=last, round=0)
    script.hears("b", refused)
    answers = script.hears("b", refused)
    assert any(isinstance(message, Append) and message.previous_index == 1 for message in answers)


def test_the_log_is_kept_where_it_continues_a_snapshot(script: Script) -> None:
    script.hears("b", Append(1, 1, 0, 3, 0, ENTRIES))
    writer = script.raft.begin_snapshot()
    while writer.step():
        pass
    writer.publish()
    script.raft.compact(keep_bytes=0)
    assert script.journal.first_index == 3
    assert script.journal.at(4) == Entry(ENTRIES[2][1], 4, 1)
