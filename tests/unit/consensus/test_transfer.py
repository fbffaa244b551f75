"""Leadership is handed over in good order: nothing is lost, nobody waits for an election timeout, and it may fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from holes.ours import Ours

from oarlock.consensus.log import NotLeader
from oarlock.consensus.transfer import TransferFailed


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Ours]:
    cluster = Ours(tmp_path)
    cluster.elect("A")
    yield cluster
    cluster.close()


def test_the_heir_leads_in_the_next_term_without_a_timeout(cluster: Ours) -> None:
    outcomes = [cluster.propose("A", b"%d" % number) for number in range(10)]
    term = cluster.term("A")
    done = cluster.members["A"].raft.transfer("C")
    took_s = cluster.run_until(lambda: cluster.leaders() == ["C"])
    assert took_s < 0.2, "in virtual time, far below the shortest election timeout"
    cluster.run(0.1)
    assert done.result() == "C"
    assert (cluster.term("C"), cluster.leaders()) == (term + 1, ["C"])
    assert all(outcome.acknowledged for outcome in outcomes)
    assert cluster.state("C") == [b"%d" % number for number in range(10)]


def test_without_a_name_the_one_with_most_of_the_log_takes_over(cluster: Ours) -> None:
    cluster.isolate("B")
    cluster.propose_all("A", [b"x"])
    cluster.heal()
    done = cluster.members["A"].raft.transfer(None)
    cluster.run_until(done.done)
    assert done.result() == "C"


def test_a_heir_that_lags_is_brought_up_to_date_first(cluster: Ours) -> None:
    cluster.isolate("B")
    cluster.propose_all("A", [b"1", b"2", b"3"])
    cluster.heal()
    cluster.members["A"].raft.transfer("B")
    cluster.run_until(lambda: cluster.leaders() == ["B"])
    cluster.run(0.1)
    assert cluster.state("B") == [b"1", b"2", b"3"]


def test_meanwhile_proposals_are_refused_and_reads_are_not(cluster: Ours) -> None:
    raft = cluster.members["A"].raft
    read = raft.read_index()
    raft.transfer("B")
    refused = raft.propose(b"late")
    assert isinstance(refused.exception(), NotLeader)
    assert refused.exception().leader == "B", "where to go"
    cluster.run(0.5)
    assert read.done()
    assert b"late" not in cluster.state("B")


def test_a_heir_that_is_gone_costs_an_election_timeout_and_no_leadership(cluster: Ours) -> None:
    cluster.isolate("B")
    done = cluster.members["A"].raft.transfer("B")
    cluster.run_until(done.done)
    assert isinstance(done.exception(), TransferFailed)
    assert cluster.leaders() == ["A"]
    (outcome,) = cluster.propose_all("A", [b"goes on"])
    assert outcome.acknowledged


def test_what_cannot_be_is_refused(cluster: Ours) -> None:
    raft = cluster.members["A"].raft
    assert isinstance(raft.transfer("A").exception(), TransferFailed)
    assert isinstance(raft.transfer("stranger").exception(), TransferFailed)
    assert isinstance(cluster.members["B"].raft.transfer("C").exception(), NotLeader)
    first, second = raft.transfer("B"), raft.transfer("C")
    assert isinstance(second.exception(), TransferFailed)
    cluster.run_until(first.done)
    assert first.result() == "B"


def test_only_the_leader_can_ask_for_an_election(cluster: Ours) -> None:
    """A late request, or one of a member that doesn't lead, does nothing."""
    cluster.members["A"].raft.transfer("B")
    cluster.run_until(lambda: cluster.leaders() == ["B"])
    request = next(sent for sent in cluster.seen if sent.kind == "timeout now")
    cluster.run(0.2)
    term = cluster.term("B")
    for sent in (request._replace(receiver="C"), request._replace(sender="C", receiver="A")):
        cluster.receive(sent)
    cluster.run(1)
    assert (cluster.leaders(), cluster.term("A")) == (["B"], term)
