"""A member that has lost its folder contradicts nothing that it promised before, and finds its way back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holes.cluster import numbered
from holes.ours import Ours

Start = Callable[..., Ours]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Ours] = []

    def start_one(size: int = 3) -> Ours:
        running.append(Ours(tmp_path, size))
        return running[-1]

    yield start_one
    for cluster in running:
        cluster.close()


def wipe(cluster: Ours, name: str) -> None:
    """Restart a member on an empty folder."""
    cluster.crash(name)
    shutil.rmtree(cluster.data_dir(name))
    cluster.boot(name)


def is_newcomer(cluster: Ours, name: str) -> bool:
    return bool(cluster.members[name].journal.newcomer)


def votes_of(cluster: Ours, name: str) -> int:
    return sum(sent.kind == "vote" and sent.sender == name and sent.message.granted for sent in cluster.seen)


def test_a_new_cluster_starts_with_a_majority_of_its_members(start: Start) -> None:
    cluster = start()
    cluster.crash("C")
    cluster.run_until(lambda: bool(cluster.leaders()))
    cluster.boot("C")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    assert cluster.log_end("C") >= 2, "it came late, to a cluster with a leader, and followed first"


def test_a_wiped_member_is_filled_by_the_leader_and_votes_again(start: Start) -> None:
    cluster = start()
    cluster.elect("A")
    entries = numbered(b"kept", 10)
    cluster.propose_all("A", entries)
    wipe(cluster, "C")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    assert cluster.state("C") == entries
    cluster.crash("A")
    cluster.run_until(lambda: bool(cluster.leaders()))
    cluster.run(0.5)
    assert cluster.state("B") == cluster.state("C") == entries


def test_what_a_wiped_member_acknowledged_is_not_voted_away(start: Start) -> None:
    """A and C hold an acknowledged entry, B doesn't. C loses its folder, A is gone: B must not lead with C's vote."""
    cluster = start()
    cluster.elect("A")
    cluster.isolate("B")
    (outcome,) = cluster.propose_all("A", [b"precious"])
    assert outcome.acknowledged
    cluster.crash("A")
    wipe(cluster, "C")
    cluster.heal()
    cluster.run(10)
    assert cluster.leaders() == []
    cluster.boot("A")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    cluster.run(1)
    assert [cluster.state(name) for name in "ABC"] == [[b"precious"]] * 3


def test_a_wiped_member_votes_in_no_term_that_it_may_have_voted_in(start: Start) -> None:
    """C has voted for A in the present term, and is asked by B in that very term once it is back."""
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", [b"x"])
    wipe(cluster, "C")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    raft = cluster.members["C"].raft
    assert (raft.term, raft.vote) == (cluster.term("A"), "C"), "as if it had voted for itself"


def test_a_wiped_member_is_silent_until_it_has_heard_from_everybody(start: Start) -> None:
    """B is down: nobody can tell C which terms B has stood in. What C says counts for nothing until then."""
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", [b"x"])
    cluster.crash("B")
    wipe(cluster, "C")
    cluster.seen.clear()
    cluster.run(5)
    told = {sent.kind for sent in cluster.seen if sent.sender == "C"}
    assert told == {"inquiry"}
    assert cluster.leaders() == [], "A alone is no majority"
    cluster.boot("B")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    assert cluster.state("C") == [b"x"]


def test_answers_to_an_earlier_life_count_for_nothing(start: Start) -> None:
    cluster = start()
    cluster.elect("A")
    wipe(cluster, "C")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    answers = [sent for sent in cluster.seen if sent.kind == "standing" and sent.receiver == "C"]
    cluster.cut_off()
    wipe(cluster, "C")
    for answer in answers:
        cluster.receive(answer)
    cluster.run(1)
    assert cluster.members["C"].raft.term == 0
    assert is_newcomer(cluster, "C")


def test_a_majority_that_was_wiped_starts_no_second_history(start: Start) -> None:
    """Only A still has the data. B and C are a majority, but learn from A that the cluster isn't new."""
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", [b"precious"])
    wipe(cluster, "B")
    wipe(cluster, "C")
    cluster.seen.clear()
    cluster.run(10)
    assert votes_of(cluster, "B") == votes_of(cluster, "C") == 0
    assert cluster.state("A") == [b"precious"]


def test_a_restart_on_the_way_in_changes_nothing(start: Start) -> None:
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", numbered(b"kept", 3))
    cluster.crash("B")
    wipe(cluster, "C")
    cluster.run(1)
    cluster.crash("C")
    cluster.boot("C")
    assert is_newcomer(cluster, "C")
    cluster.boot("B")
    cluster.run_until(lambda: not is_newcomer(cluster, "C"))
    assert cluster.state("C") == numbered(b"kept", 3)
