"""How stock pysyncobj elects and admits whom it shouldn't, and that ours doesn't. Each scenario runs on both.

| hole | test |
|---|---|
| 10 membership changes can overlap | test_hole_10_membership_changes_overlap |
| 11 votes are a counter without identity | test_hole_11_a_vote_counts_twice |
| 11 … of anybody | test_hole_11_a_strangers_vote_counts |
| 12 pickle before authentication | test_hole_12_pickle_runs_before_any_authentication |
| 12 entries of non-members | test_hole_12_a_stranger_injects_entries |
| 13 no pre-vote | test_hole_13_a_cut_off_member_deposes_a_healthy_leader |
| 13 no check-quorum, no ReadIndex | test_hole_13_a_cut_off_leader_serves_stale_reads |
| 13 a send-only leader blocks writes | test_hole_13_a_leader_that_hears_nobody_blocks_all |
"""

from __future__ import annotations

import pickle
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holes.cluster import Cluster, Sent
from holes.ours import Ours
from holes.stock import NoSockets, Stock
from pysyncobj import SyncObj
from pysyncobj.node import Node
from pysyncobj.poller import POLL_EVENT_TYPE
from pysyncobj.tcp_connection import TcpConnection

from oarlock.consensus.log import NotLeader
from oarlock.consensus.messages import Append, FrameReader, MalformedFrame, decode_hello

StartCluster = Callable[..., Cluster]


def test_hole_10_membership_changes_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader without a majority changes its voters one after another until it has one of strangers."""
    stock = Stock(tmp_path, patch=monkeypatch, durable=False, dynamicMembershipChange=True)
    stock.elect("A")
    stock.run(0.5)
    stock.cut_off()
    leader = stock.members["A"]
    for name in "XY":
        leader.addNodeToCluster(Node(name))
    for name in "BC":
        leader.removeNodeFromCluster(Node(name))
    stock.run(0.2)
    assert {node.id for node in leader.otherNodes} == {"X", "Y"}, "stock: four changes, none committed"

    ours = Ours(tmp_path)
    ours.elect("A")
    raft: SyncObj = ours.members["A"].raft
    with pytest.raises(Exception, match="dynamicMembershipChange is disabled"):
        raft.addNodeToCluster(Node("X"))
    assert list(raft.peers()) == ["B", "C"]
    ours.close()


def test_hole_11_a_vote_counts_twice(start: StartCluster) -> None:
    """A of five stands and gets one vote, several times over."""
    cluster = start(5)
    become_candidate(cluster, "A")
    vote = vote_of(cluster, "B")
    for _ in range(4):
        cluster.receive(vote)
    assert cluster.leads("A") is not cluster.hardened


def test_hole_11_a_strangers_vote_counts(start: StartCluster) -> None:
    """A of five stands and gets votes of two that are no members."""
    cluster = start(5)
    become_candidate(cluster, "A")
    vote = vote_of(cluster, "B")
    for stranger in "YZ":
        cluster.receive(vote._replace(sender=stranger))
    assert cluster.leads("A") is not cluster.hardened


def test_hole_12_pickle_runs_before_any_authentication(tmp_path: Path) -> None:
    """Whoever can connect sends a pickle that touches a file."""
    touched = tmp_path / "touched"
    payload = pickle.dumps(Touch(touched))
    body = zlib.compress(payload)
    attacker, victim = socket.socketpair()
    victim.setblocking(False)
    attacker.sendall(struct.pack("i", len(body)) + body)
    poller = Poller()
    TcpConnection(poller, socket=victim, timeout=10.0, sendBufferSize=1 << 16, recvBufferSize=1 << 16, keepalive=None)
    poller.callback(victim.fileno(), POLL_EVENT_TYPE.READ)
    assert touched.exists(), "stock: the attacker's code has run"
    attacker.close()

    touched.unlink()
    for content in (payload, body):
        (frame,) = FrameReader(4096).feed(struct.pack("<I", len(content)) + content)
        with pytest.raises(MalformedFrame):
            decode_hello(frame)
    assert not touched.exists()


def test_hole_12_a_stranger_injects_entries(start: StartCluster) -> None:
    """One that is no member sends an append of a high term to everybody."""
    cluster = start()
    cluster.elect("A")
    cluster.run(0.5)
    for name in cluster.names:
        cluster.receive(Sent("0", name, "append", injection(cluster, name)))
    cluster.cut_off()
    cluster.run(0.1)
    injected = any(b"evil" in data for name in cluster.names for _, data in cluster.log(name))
    assert injected is not cluster.hardened


def test_hole_13_a_cut_off_member_deposes_a_healthy_leader(start: StartCluster) -> None:
    """C is cut off for a while and comes back."""
    cluster = start()
    cluster.elect("A")
    term = cluster.term("A")
    cluster.isolate("C")
    cluster.run(20)
    cluster.heal()
    cluster.run(3)
    undisturbed = cluster.leaders() == ["A"] and cluster.term("A") == term
    assert undisturbed is cluster.hardened


def test_hole_13_a_cut_off_leader_serves_stale_reads(start: StartCluster) -> None:
    """A leads and is cut off; the others elect another leader, which writes."""
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", [b"old"])
    cluster.isolate("A")
    read = read_index(cluster)
    cluster.run(5)
    (leader,) = set(cluster.leaders()) - {"A"}
    assert all(outcome.acknowledged for outcome in cluster.propose_all(leader, [b"new"]))
    assert (not cluster.leads("A")) is cluster.hardened, "stock goes on to serve its stale state as the leader"
    if read is not None:
        assert isinstance(read.exception(), NotLeader), "ours answers no read that it can't confirm"


def test_hole_13_a_leader_that_hears_nobody_blocks_all(start: StartCluster) -> None:
    """A can send but hears nothing: its heartbeats keep the others from electing one that works."""
    cluster = start()
    cluster.elect("A")
    cluster.run(0.5)
    cluster.passes = lambda sent: sent.receiver != "A"
    took_s = cluster.run_until(lambda: bool(set(cluster.leaders()) - {"A"}))
    assert (took_s < 5) is cluster.hardened


def become_candidate(cluster: Cluster, name: str) -> None:
    """Have a member stand in a term of its own, without anybody's vote yet."""
    cluster.run(0.06)
    cluster.passes = lambda sent: sent.kind != "vote" or getattr(sent.message, "trial", False)
    for other in cluster.names:
        cluster.set_election(other, cluster.now + (0 if other == name else 60))
    cluster.run_until(lambda: cluster.term(name) > 0)
    cluster.run(0.1)
    assert not cluster.leads(name)
    cluster.cut_off()


def vote_of(cluster: Cluster, name: str) -> Sent:
    return next(
        sent
        for sent in cluster.seen
        if sent.sender == name and sent.kind == "vote" and not getattr(sent.message, "trial", False)
    )


def read_index(cluster: Cluster) -> Any:
    """Begin a linearizable read on A; None for stock, which has none."""
    return cluster.members["A"].raft.read_index() if isinstance(cluster, Ours) else None


def injection(cluster: Cluster, name: str) -> Any:
    """Return an append of one entry that fits behind the log of `name`."""
    end = cluster.log_end(name)
    if isinstance(cluster, Ours):
        last = cluster.members[name].journal.last_term
        return Append(10**6, end, last, end + 1, 0, [(10**6, b"\x01evil")])
    last = cluster.members[name]._SyncObj__raftLog[-1][2]
    return {
        "type": "append_entries", "term": 10**6, "commit_index": end + 1, "prevLogIdx": end, "prevLogTerm": last,
        "entries": [(b"\x01evil", end + 1, 10**6)],
    }  # fmt: skip


class Touch:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


class Poller(NoSockets):
    """Keeps what is subscribed, for the test to call."""

    def subscribe(self, descriptor: int, callback: Callable[[int, int], None], events: int) -> None:
        self.callback = callback
