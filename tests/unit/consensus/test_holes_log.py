"""How stock pysyncobj loses entries between members' logs, and that ours doesn't. Each scenario runs on both.

| hole | test |
|---|---|
| 1 a late or repeated append truncates | test_hole_01_a_late_append_truncates |
| 2 snapshot pieces advance the commit index without a log match | test_hole_02_a_snapshot_piece_commits |
| 3 a failed snapshot load is acknowledged | test_hole_03_a_damaged_snapshot_is_acknowledged |
| 4 a re-delivered snapshot rewinds log and state | test_hole_04_a_repeated_snapshot_rewinds |
| 9 acknowledgements carry no term | test_hole_09_an_acknowledgement_of_an_old_term_counts |
| 14 conflicts are backed off one index per append period | test_hole_14_a_conflict_is_backed_off_one_by_one |
| 16 callbacks never fire after a snapshot has overwritten their entries | test_hole_16_a_proposer_waits_for_ever |

Holes 5 to 8, 15 and 17: test_holes_storage.py. Holes 10 to 13: test_holes_elections.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from holes.cluster import Cluster, Sent, numbered

StartCluster = Callable[..., Cluster]


def test_hole_01_a_late_append_truncates(start: StartCluster) -> None:
    """B acknowledges five entries, then gets a late copy of the first append. A dies; B and C go on without A."""
    cluster = start()
    cluster.elect("A")
    cluster.isolate("C")
    entries = numbered(b"acknowledged", 5)
    outcomes = cluster.propose_all("A", entries)
    assert all(outcome.acknowledged for outcome in outcomes)
    first = next(sent for sent in cluster.seen if sent.receiver == "B" and entries[0] in repr(sent.message).encode())
    cluster.receive(first)
    cluster.crash("A")
    cluster.heal()
    cluster.run_until(lambda: bool(cluster.leaders()))
    cluster.run(1)
    assert all(cluster.state(name) == entries for name in "BC") is cluster.hardened


def test_hole_02_a_snapshot_piece_commits(start: StartCluster) -> None:
    """A has entries that nobody else has. The others go on, and send A all of a snapshot but its last piece."""
    cluster = start(5)
    cluster.elect("A")
    cluster.cut_off()
    cluster.propose_all("A", numbered(b"diverging", 6))
    cluster.isolate("A")
    cluster.run_until(lambda: bool(set(cluster.leaders()) & set("BCDE")))
    (leader,) = set(cluster.leaders()) & set("BCDE")
    cluster.propose_all(leader, numbered(b"good", 20))
    cluster.compact(leader)
    cluster.passes = lambda sent: sent.receiver != "A" or not (sent.kind == "snapshot" and is_last_piece(sent))
    cluster.run(1)
    assert any(sent.receiver == "A" and sent.kind == "snapshot" for sent in cluster.seen)
    diverged = any(b"diverging" in data for data in cluster.state("A"))
    assert diverged is not cluster.hardened


def test_hole_03_a_damaged_snapshot_is_acknowledged(start: StartCluster) -> None:
    """B leads alone and logs what nobody else has. Then A sends B a snapshot that arrives damaged."""
    cluster = start()
    cluster.elect("B")
    cluster.isolate("B")
    let_nobody_stand(cluster)
    propose_quickly(cluster, "B", numbered(b"diverging", 20))
    cluster.elect("A")
    cluster.propose_all("A", numbered(b"good", 10))
    cluster.compact("A")
    # From now on every snapshot arrives damaged, and C hears nothing: a commit needs B.
    cluster.passes = lambda sent: "C" not in (sent.sender, sent.receiver) and sent.kind != "snapshot"
    cluster.run_until(lambda: any(one.kind == "snapshot" and is_last_piece(one) for one in cluster.seen))
    for sent in [one for one in cluster.seen if one.kind == "snapshot"]:
        cluster.receive(sent._replace(message=damaged(sent.message)))
    cluster.deliver()
    outcome = cluster.propose("A", b"needs-b")
    cluster.run(0.3)
    assert b"needs-b" in cluster.log("A")[-1][1]
    assert (not outcome.acknowledged or cluster.holders(b"needs-b") == ["A", "B"]) is cluster.hardened


def test_hole_04_a_repeated_snapshot_rewinds(start: StartCluster) -> None:
    """B takes a snapshot and five entries behind it; then the snapshot's messages come a second time."""
    cluster = start()
    cluster.elect("A")
    cluster.isolate("B")
    cluster.propose_all("A", numbered(b"early", 20))
    cluster.compact("A")
    cluster.isolate("C")
    cluster.run_until(lambda: len(cluster.state("B")) == 20)
    snapshot = [sent for sent in cluster.seen if sent.receiver == "B" and sent.kind == "snapshot"]
    late = numbered(b"late", 5)
    assert all(outcome.acknowledged for outcome in cluster.propose_all("A", late))
    cluster.run(0.5)
    for sent in snapshot:
        cluster.receive(sent)
    assert (cluster.state("B")[-5:] == late and cluster.holders(late[-1]) == ["A", "B"]) is cluster.hardened


def test_hole_09_an_acknowledgement_of_an_old_term_counts(start: StartCluster) -> None:
    """B acknowledged entries of A's first term that C overwrote; the acknowledgement arrives in A's second term."""
    cluster = start(5)
    cluster.elect("A")
    cluster.passes = lambda sent: {sent.sender, sent.receiver} == {"A", "B"} and sent.kind != "append reply"
    cluster.propose_all("A", numbered(b"first-term", 5))
    late = [sent for sent in cluster.seen if sent.sender == "B" and sent.kind == "append reply"][-1]
    cluster.isolate("A", "B")
    cluster.elect("C")
    cluster.heal()
    cluster.run(1)
    assert not cluster.holders(b"first-term-00-end"), "C has overwritten them"
    cluster.crash("C")
    cluster.passes = lambda sent: sent.kind.startswith("vote") or {sent.sender, sent.receiver} == {"A", "D"}
    let_nobody_stand(cluster)
    cluster.run(1)
    cluster.elect("A")
    let_nobody_stand(cluster)
    outcomes = cluster.propose_all("A", numbered(b"second-term", 5))
    cluster.receive(late)
    cluster.run(0.3)
    committed = [
        entry for entry, outcome in zip(numbered(b"second-term", 5), outcomes, strict=True) if outcome.acknowledged
    ]
    assert all(len(cluster.holders(entry)) >= 3 for entry in committed) is cluster.hardened


def test_hole_14_a_conflict_is_backed_off_one_by_one(start: StartCluster) -> None:
    """A has 30 entries that nobody else has; how many appends does the next leader send until A's log is repaired?"""
    cluster = start()
    cluster.elect("A")
    cluster.cut_off()
    let_nobody_stand(cluster)
    propose_quickly(cluster, "A", numbered(b"diverging", 30))
    cluster.isolate("A")
    cluster.elect("B")
    propose_quickly(cluster, "B", numbered(b"good", 30))
    cluster.run(0.5)
    cluster.seen.clear()
    cluster.heal()
    cluster.run_until(lambda: cluster.state("A") == cluster.state("B") != [])
    appends = [sent for sent in cluster.seen if (sent.sender, sent.receiver, sent.kind) == ("B", "A", "append")]
    assert (len(appends) < 10) is cluster.hardened


def test_hole_16_a_proposer_waits_for_ever(start: StartCluster) -> None:
    """A proposes alone; the others go on and send A a snapshot instead of the entries that replace A's."""
    cluster = start()
    cluster.elect("A")
    cluster.isolate("A")
    let_nobody_stand(cluster)
    outcome = cluster.propose("A", b"pending")
    cluster.run(0.5)
    cluster.elect("B")
    cluster.propose_all("B", numbered(b"good", 20))
    cluster.compact("B")
    cluster.heal()
    cluster.run(40)
    assert cluster.state("A") == cluster.state("B")
    assert not outcome.acknowledged
    assert outcome.settled is cluster.hardened


def propose_quickly(cluster: Cluster, name: str, entries: list[bytes]) -> None:
    """Propose entries so that each gets a place of its own in the log, before anybody else's election timeout."""
    for data in entries:
        cluster.propose(name, data)
        cluster.step()


def let_nobody_stand(cluster: Cluster) -> None:
    for name in cluster.members:
        cluster.set_election(name, cluster.now + 60)


def is_last_piece(sent: Sent) -> bool:
    return bool(sent.message["serialized"][2] if isinstance(sent.message, dict) else sent.message.last)


def damaged(message: Any) -> Any:
    """Return a snapshot message with a byte changed on the way."""
    if isinstance(message, dict):
        data, first, last = message["serialized"]
        return {**message, "serialized": (_flipped(data), first, last)}
    return msgspec.structs.replace(message, data=_flipped(message.data))


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x40 for byte in data[middle : middle + 1]) + data[middle + 1 :]
