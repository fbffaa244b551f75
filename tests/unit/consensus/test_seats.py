"""A folder that was replaced and comes back is let in by nobody, stops itself and harms nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from holes.cluster import numbered
from holes.ours import Ours

from oarlock.consensus.journal import INSTANCES_MAX, Entry, Journal
from oarlock.consensus.messages import Hello

Start = Callable[..., Ours]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Ours] = []

    def start_one(size: int = 3) -> Ours:
        running.append(Ours(tmp_path, size))
        running[-1].elect("A")
        return running[-1]

    yield start_one
    for cluster in running:
        cluster.close()


def has_joined(cluster: Ours, name: str) -> bool:
    return not cluster.members[name].journal.newcomer


def put_aside(cluster: Ours, name: str, label: str) -> Path:
    """Turn a member off and take its folder away."""
    if name in cluster.members:
        cluster.crash(name)
    return cluster.data_dir(name).rename(cluster.folder / f"{name}-{label}")


def put_back(cluster: Ours, name: str, folder: Path) -> None:
    shutil.copytree(folder, cluster.data_dir(name))
    cluster.boot(name)


def replace(cluster: Ours, name: str, label: str = "old") -> Path:
    """Start a member on an empty folder, wait until it votes, and return the folder that it had."""
    old = put_aside(cluster, name, label)
    cluster.boot(name)
    cluster.run_until(lambda: has_joined(cluster, name))
    return old


def instance(cluster: Ours, name: str) -> str:
    return str(cluster.members[name].raft.seats.instance)


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("size", [3, 5])
def test_what_was_acknowledged_without_it_is_kept_from_an_old_folder(start: Start, size: int) -> None:
    """C's new folder and a bare majority hold an entry. They are off when its old folder meets those that lag."""
    cluster = start(size)
    cluster.propose_all("A", numbered(b"kept", 3))
    old = replace(cluster, "C")
    lagging = "BE"[: size // 2]
    cluster.isolate(*lagging)
    (outcome,) = cluster.propose_all("A", [b"precious"])
    assert outcome.acknowledged
    for name in set(cluster.names) - set(lagging) - {"C"}:
        cluster.crash(name)
    new = put_aside(cluster, "C", "new")
    put_back(cluster, "C", old)
    cluster.heal()
    cluster.run_until(lambda: bool(cluster.lost))
    cluster.run(5)
    assert cluster.leaders() == []
    assert "belongs to a newer folder" in cluster.lost["C"]
    assert "start here with an empty folder" in cluster.lost["C"]
    assert content(cluster.data_dir("C")) == content(old), "it has written nothing"
    shutil.rmtree(cluster.data_dir("C"))
    put_back(cluster, "C", new)
    for name in set(cluster.names) - set(cluster.members):
        cluster.boot(name)
    cluster.run_until(lambda: all(b"precious" in cluster.state(name) for name in cluster.names))
    assert list(cluster.lost) == ["C"]


def test_a_folder_is_told_by_whoever_dials_it(start: Start) -> None:
    """Before the first message: so it takes in nothing that could change it."""
    cluster = start()
    old = replace(cluster, "C")
    put_aside(cluster, "C", "new")
    cluster.passes = lambda sent: sent.sender != "C"
    put_back(cluster, "C", old)
    cluster.propose_all("A", [b"x"])
    assert list(cluster.lost) == ["C"]
    assert content(cluster.data_dir("C")) == content(old)


def test_an_old_folder_comes_back_while_the_seat_was_only_asked_for(start: Start) -> None:
    """B is down when C starts on an empty folder, which so gets no seat: the old folder goes on as if nothing was."""
    cluster = start()
    cluster.propose_all("A", [b"x"])
    cluster.crash("B")
    old = put_aside(cluster, "C", "old")
    cluster.boot("C")
    cluster.run(2)
    assert not has_joined(cluster, "C")
    put_aside(cluster, "C", "new")
    put_back(cluster, "C", old)
    cluster.run_until(lambda: bool(cluster.leaders()))
    cluster.boot("B")
    cluster.run(2)
    assert cluster.lost == {}
    assert cluster.state("B") == cluster.state("C") == [b"x"]


def test_a_newcomer_that_was_replaced_before_it_was_in_takes_the_seat_from_nobody(start: Start) -> None:
    """The second folder of C got its seat from A alone; the third one has it from both when the second comes back."""
    cluster = start()
    put_aside(cluster, "C", "first")
    cluster.boot("C")
    cluster.passes = lambda sent: not (sent.kind == "inquiry" and sent.receiver == "B" and sent.message.takes)
    cluster.run_until(lambda: cluster.members["A"].journal.holder("C") == instance(cluster, "C"))
    second = put_aside(cluster, "C", "second")
    cluster.heal()
    cluster.boot("C")
    cluster.run_until(lambda: has_joined(cluster, "C"))
    third = put_aside(cluster, "C", "third")
    put_back(cluster, "C", second)
    cluster.run_until(lambda: bool(cluster.lost))
    shutil.rmtree(cluster.data_dir("C"))
    put_back(cluster, "C", third)
    cluster.propose_all(cluster.leaders()[0], [b"x"])
    assert cluster.state("C") == [b"x"]
    assert list(cluster.lost) == ["C"]


def test_a_member_that_lost_its_folder_still_knows_who_was_replaced(start: Start) -> None:
    """C was replaced, then B: B's new folder has learnt from the others whom to let in."""
    cluster = start()
    old = replace(cluster, "C")
    replace(cluster, "B", "older")
    new = put_aside(cluster, "C", "new")
    cluster.crash("A")
    put_back(cluster, "C", old)
    cluster.run(5)
    assert cluster.leaders() == []
    cluster.boot("A")
    cluster.run_until(lambda: bool(cluster.lost))
    shutil.rmtree(cluster.data_dir("C"))
    put_back(cluster, "C", new)
    cluster.run_until(lambda: bool(cluster.leaders()))
    assert list(cluster.lost) == ["C"]


def test_a_folder_that_knows_none_of_the_others_any_more_stops_too(start: Start) -> None:
    cluster = start()
    old = replace(cluster, "C")
    replace(cluster, "B", "older")
    replace(cluster, "A", "older")
    put_aside(cluster, "C", "new")
    put_back(cluster, "C", old)
    cluster.run_until(lambda: bool(cluster.lost))
    cluster.run(2)
    assert list(cluster.lost) == ["C"]


def test_two_members_on_empty_folders_at_once_find_their_way_in(start: Start) -> None:
    cluster = start(5)
    cluster.propose_all("A", [b"x"])
    for name in "CD":
        put_aside(cluster, name, "old")
    for name in "CD":
        cluster.boot(name)
    cluster.run_until(lambda: has_joined(cluster, "C") and has_joined(cluster, "D"))
    assert cluster.state("C") == cluster.state("D") == [b"x"]
    for name in "ABE":
        assert cluster.members[name].journal.holder("C") == instance(cluster, "C")


def test_nobody_stops_on_the_word_of_a_folder_that_was_replaced(start: Start) -> None:
    """Both B and C were replaced, C later; then B's old folder, which knows only the C before, refuses the new C."""
    cluster = start()
    old = replace(cluster, "B")
    replace(cluster, "C")
    put_aside(cluster, "B", "new")
    cluster.passes = lambda sent: (sent.sender, sent.receiver) == ("C", "B")
    put_back(cluster, "B", old)
    cluster.run(2)
    assert "C" not in cluster.lost
    cluster.heal()
    cluster.run_until(lambda: "B" in cluster.lost)
    assert list(cluster.lost) == ["B"]


def test_a_newcomer_waits_for_the_folders_that_have_the_seats(start: Start) -> None:
    """C is off and its old folder answers in its place; what that one promises binds nobody."""
    cluster = start()
    old = replace(cluster, "C")
    new = put_aside(cluster, "C", "new")
    put_aside(cluster, "B", "old")
    cluster.boot("B")
    cluster.passes = lambda sent: {sent.sender, sent.receiver} != {"A", "C"}
    put_back(cluster, "C", old)
    cluster.run(3)
    assert not has_joined(cluster, "B")
    assert cluster.members["B"].raft.term == 0, "it is silent"
    cluster.crash("C")
    shutil.rmtree(cluster.data_dir("C"))
    put_back(cluster, "C", new)
    cluster.heal()
    cluster.run_until(lambda: has_joined(cluster, "B"))


def test_a_folder_of_an_earlier_release_gets_an_instance_and_is_remembered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(Journal, "set_seat", Journal._seat)  # in memory only
        cluster = start()
        for name in "ABC":
            cluster.crash(name)
    assert Journal(cluster.data_dir("A") / "journal").seats == {}
    for name in "ABC":
        cluster.boot(name)
    cluster.run_until(lambda: bool(cluster.leaders()))
    cluster.run(1)
    for name in "ABC":
        assert cluster.members["A"].journal.holder(name) == instance(cluster, name)
    assert len({instance(cluster, name) for name in "ABC"}) == 3


def test_a_release_that_knows_no_instances_is_let_in_until_its_seat_has_one(start: Start) -> None:
    cluster = start()
    seats = cluster.members["A"].raft.seats
    hello = Hello("", "", "C", "A")
    assert "belongs to another folder" in seats.refusal(hello, None)
    cluster.members["A"].journal.seats.pop("C")
    assert seats.refusal(hello, None) == ""
    assert seats.holder("C") == ""


def test_a_newcomer_waits_while_the_seats_folder_is_connected(start: Start) -> None:
    cluster = start()
    seats = cluster.members["A"].raft.seats
    hello = Hello("", "", "C", "A", "abc", "", newcomer=True)
    assert "meanwhile" in seats.refusal(hello, instance(cluster, "C"))
    assert seats.refusal(hello, None) == seats.refusal(hello, "abc") == ""


def test_seats_survive_restarts_and_compaction(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=3000)
    for number in range(INSTANCES_MAX + 3):
        journal.set_seat("b", f"folder{number}")
    journal.set_seat("c", "other")
    for index in range(1, 300):
        journal.append(Entry(b"entry %d" % index, index, 1))
        journal.compact_to(index - 1)
        journal.sync()
    seats = journal.seats
    journal.close()
    assert len(list(tmp_path.glob("*.log"))) < 4
    assert Journal(tmp_path).seats == seats
    assert (len(seats["b"]), journal.holder("b"), journal.holder("d")) == (INSTANCES_MAX, "folder18", "")
