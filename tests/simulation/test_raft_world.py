"""Raft keeps its promises in worlds full of faults, and the worlds notice when it doesn't."""

from __future__ import annotations

from typing import Any

import pytest
from raft_world import Broken, live_through

from oarlock.consensus.core import GroupCommit
from oarlock.consensus.elections import Elections
from oarlock.consensus.journal import Commit
from oarlock.consensus.messages import VoteReply
from oarlock.consensus.proposals import Reads
from oarlock.consensus.replication import Replication
from oarlock.consensus.storage import StorageFault

SEEDS_TO_CATCH = 60


@pytest.mark.parametrize("seed", range(12))
def test_no_promise_is_broken(seed: int) -> None:
    stats = live_through(seed, seconds=10)
    assert stats["acknowledged"] > 100
    assert stats["reads"] > 10
    assert stats["crashes"] + stats["cuts"] > 0


def _acknowledge_before_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def send_at_once(disk: GroupCommit, peer: str, message: Any) -> None:
        disk._driver.send(peer, message)

    monkeypatch.setattr(GroupCommit, "send", send_at_once)


def _skip_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = iter(range(10**9))

    def write(commit: Commit) -> None:
        if next(writes) % 10:
            original(commit)

    original = Commit.write
    monkeypatch.setattr(Commit, "write", write)


def _count_votes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Elections.reply

    def vote_reply(elections: Elections, peer: str, reply: VoteReply) -> None:
        original(elections, peer, reply)
        if reply.granted and not reply.trial:
            elections._votes.add(peer + " again")

    monkeypatch.setattr(Elections, "reply", vote_reply)


def _read_without_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Reads.resolve
    monkeypatch.setattr(Reads, "resolve", lambda reads, _, applied: original(reads, reads.round, applied))


def _commit_with_one_copy_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def durable_on_almost_a_majority(replication: Replication) -> int:
        match = [replication._core.match_index(peer) for peer in replication._progress]
        return sorted([replication._journal.durable_index, *match], reverse=True)[replication._core.quorum - 2]

    monkeypatch.setattr(Replication, "durable_on_majority", durable_on_almost_a_majority)


@pytest.mark.parametrize(
    "sabotage",
    [
        _acknowledge_before_the_disk, _skip_the_write, _count_votes_twice, _read_without_a_round,
        _commit_with_one_copy_less,
    ],
)  # fmt: skip
def test_sabotage_is_noticed(sabotage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    with pytest.raises((Broken, AssertionError, StorageFault)):
        _live_through_many()


def _live_through_many() -> None:
    for seed in range(1000, 1000 + SEEDS_TO_CATCH):
        live_through(seed)
