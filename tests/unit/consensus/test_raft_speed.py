"""What makes Raft quick: appends in flight, reads that share a round, elections that don't wait where they needn't."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from holes.cluster import numbered
from holes.ours import Ours

from oarlock.consensus.messages import Append


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Ours]:
    cluster = Ours(tmp_path)
    cluster.elect("A")
    cluster.run(0.2)
    yield cluster
    cluster.close()


def test_appends_leave_before_earlier_ones_are_answered(cluster: Ours) -> None:
    cluster.passes = lambda sent: sent.kind != "append reply"
    cluster.seen.clear()
    entries = numbered(b"entry", 5)
    for data in entries:
        cluster.propose("A", data)
        cluster.step()
    appends = [one.message for one in cluster.seen if one.receiver == "B" and one.kind == "append"]
    sent = [entry for append in appends for entry in append.entries]
    assert [data for _, data in sent] == [data for _, data in cluster.log("A")[-5:]], "each once, in order"
    assert not any(data in cluster.state("A") for data in entries)
    cluster.heal()
    cluster.run(0.3)
    assert cluster.state("A") == cluster.state("B") == entries


def test_an_append_leaves_before_the_leader_has_written_it_itself(cluster: Ours) -> None:
    member = cluster.members["A"]
    order: list[str] = []
    write, send = member.write, member.send
    member.write = lambda commit: (order.append("write"), write(commit))
    member.send = lambda peer, message: (
        order.append("append") if isinstance(message, Append) and message.entries else None,
        send(peer, message),
    )
    cluster.propose("A", b"x")
    member.turn()
    assert order == ["append", "append", "write"]


def test_reads_of_one_turn_share_a_round(cluster: Ours) -> None:
    cluster.seen.clear()
    raft = cluster.members["A"].raft
    reads = [raft.read_index() for _ in range(100)]
    cluster.members["A"].turn()
    assert len([sent for sent in cluster.seen if sent.kind == "append"]) == 2, "one to each follower"
    assert not any(read.done() for read in reads)
    cluster.run(0.1)
    assert all(read.result() == raft.applied for read in reads)


def test_a_broken_connection_to_the_leader_needs_no_timeout(cluster: Ours) -> None:
    term = cluster.term("A")
    cluster.crash("A")
    for name in "BC":
        cluster.members[name].raft.peer_down("A")
    took_s = cluster.run_until(lambda: bool(cluster.leaders()))
    assert took_s < 0.35, "in virtual time: less than the shortest election timeout"
    assert cluster.term("B") == term + 1, "the first election has a winner"


def test_one_broken_connection_deposes_nobody(cluster: Ours) -> None:
    """B alone loses its connection to A, and asks C in vain, who still hears A."""
    term = cluster.term("A")
    cluster.passes = lambda sent: {sent.sender, sent.receiver} != {"A", "B"}
    cluster.members["B"].raft.peer_down("A")
    cluster.run(3)
    assert (cluster.leaders(), cluster.term("A"), cluster.term("C")) == (["A"], term, term)
