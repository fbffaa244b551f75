"""How stock pysyncobj loses what was on its disk, and that ours doesn't. Where possible one scenario runs on both.

| hole | test |
|---|---|
| 5 a persisted commit index ahead of a lost journal tail is trusted | test_hole_05_a_commit_index_is_trusted |
| 6 no fsync | test_hole_06_nothing_is_synced |
| 6 no CRC | test_hole_06_a_flipped_bit_goes_unnoticed |
| 6 4 GiB offsets | test_hole_06_the_journal_ends_at_4_gib |
| 6 in-place compaction that a crash truncates | test_hole_06_a_crash_while_compacting_loses_the_tail |
| 7 an empty or missing .meta: double vote | test_hole_07_a_vote_is_forgotten |
| 8 an unreadable dump: the member runs empty and can lead | test_hole_08_an_unreadable_snapshot_is_swallowed |
| 15 an exception in apply repeats for ever | test_hole_15_an_exception_in_apply_repeats |
| 17 `journalFile` without `fullDumpFile` loses state | test_hole_17_compaction_without_a_snapshot_file |
| 17 attributes set before `super().__init__()` are left out | test_hole_17_a_snapshot_leaves_attributes_out |
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holes import ours as our_cluster
from holes import stock as stock_cluster
from holes.cluster import Cluster, Sent, numbered
from holes.ours import Ours
from holes.stock import Stock
from pysyncobj import journal as stock_journal

from oarlock.consensus.journal import Entry, Journal
from oarlock.consensus.messages import VoteRequest
from oarlock.consensus.storage import StorageFault

StartCluster = Callable[..., Cluster]


def test_hole_05_a_commit_index_is_trusted(start: StartCluster) -> None:
    """All lose the same tail of their journals; A restarts, with everybody else cut off, and is written to."""
    cluster = start()
    cluster.elect("A")
    entries = numbered(b"before", 20)
    cluster.propose_all("A", entries)
    for name in cluster.names:
        cluster.crash(name)
        lose_tail(cluster, name, entries[6])
        cluster.boot(name)
    cluster.elect("A")
    cluster.cut_off()
    outcomes = [cluster.propose("A", data) for data in numbered(b"alone", 5)]
    cluster.run(0.3)
    assert any(outcome.acknowledged for outcome in outcomes) is not cluster.hardened


def test_hole_06_nothing_is_synced(start: StartCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count what is synced between a proposal and its acknowledgement."""
    cluster = start()
    cluster.elect("A")
    synced: list[Any] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    write = os.pwritev

    def written(descriptor: int, buffers: list[bytes], place: int) -> int:
        synced.extend([descriptor] * bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC))
        return write(descriptor, buffers, place)

    monkeypatch.setattr(os, "pwritev", written)
    monkeypatch.setattr(stock_journal.ResizableFile, "flush", synced.append)
    outcome = cluster.propose("A", b"x")
    cluster.run_until(lambda: outcome.settled)
    assert outcome.acknowledged
    assert bool(synced) is cluster.hardened


def test_hole_06_a_flipped_bit_goes_unnoticed(start: StartCluster) -> None:
    """One bit of an entry changes between two lives of a member."""
    cluster = start(1)
    cluster.elect("A")
    cluster.propose_all("A", [b"value-one", b"value-two", b"value-three"])
    cluster.crash("A")
    flip(next(path for path in files_of(cluster, "A") if b"value-two" in path.read_bytes()), b"value-two")
    if cluster.hardened:
        with pytest.raises(StorageFault, match=r"batch \d+ at byte \d+ has a wrong checksum"):
            cluster.boot("A")
    else:
        cluster.boot("A")
        cluster.elect("A")
        assert cluster.state("A") == [b"value-one", b"value-4wo", b"value-three"]


def test_hole_06_the_journal_ends_at_4_gib(tmp_path: Path) -> None:
    stock = stock_journal.FileJournal(str(tmp_path / "stock"))
    stock.add(b"first", 1, 1)
    stock._FileJournal__currentOffset = 2**32 - 10
    stock._FileJournal__journalFile = Nowhere()
    with pytest.raises(stock_journal.struct.error):
        stock.add(b"x" * 100, 2, 1)
    assert stock[-1][1] == 2, "stock: in memory, but never on disk"

    journal = Journal(tmp_path / "ours", segment_bytes=1000)
    journal._sequence = 2**40
    for index in range(1, 200):
        journal.append(Entry(b"x" * 50, index, 1))
        journal.sync()
    journal.close()
    assert max(path.stat().st_size for path in (tmp_path / "ours").glob("*.log")) < 1200, "no offset ever grows large"
    assert Journal(tmp_path / "ours").last_index == 199


def test_hole_06_a_crash_while_compacting_loses_the_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = stock_journal.FileJournal(str(tmp_path / "stock"))
    for index in range(1, 101):
        stock.add(b"entry", index, 1)
    monkeypatch.setattr(stock, "add", DiesAfter(10, stock.add))
    with pytest.raises(Died):
        stock.deleteEntriesTo(50)
    assert stock_journal.FileJournal(str(tmp_path / "stock"))[-1][1] == 60, "stock: 40 entries are gone"

    for calls in range(6):
        folder = tmp_path / f"ours-{calls}"
        journal = Journal(folder, segment_bytes=200)
        for index in range(1, 101):
            journal.append(Entry(b"entry", index, 1))
            journal.sync()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", DiesAfter(calls, Path.unlink))
            journal.compact_to(50)
            with pytest.raises(Died):
                journal.sync()
        again = Journal(folder)
        assert (again.first_index, again.last_index) == (50, 100)
        again.close()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), Path.unlink], ids=["empty", "missing"])
def test_hole_07_a_vote_is_forgotten(start: StartCluster, damage: Callable[[Path], object]) -> None:
    """C votes for A in term 7, loses the file that says so, and is asked by B in term 7."""
    cluster = start()
    cluster.run(0.1)
    cluster.cut_off()
    assert votes(cluster, "A", "C") == ["A"]
    cluster.crash("C")
    for path in files_of(cluster, "C"):
        if path.suffix in {".meta", ".log"}:
            damage(path)
    if cluster.hardened:
        with pytest.raises(StorageFault, match=r"journal .* is empty"):
            cluster.boot("C")
    else:
        cluster.boot("C")
        assert votes(cluster, "B", "C") == ["B"], "stock: a second vote in term 7"


def test_hole_08_an_unreadable_snapshot_is_swallowed(start: StartCluster) -> None:
    """A's snapshot is empty, as a power cut leaves a file that was renamed before it was synced."""
    cluster = start()
    cluster.elect("A")
    cluster.propose_all("A", numbered(b"kept", 20))
    cluster.compact("A")
    cluster.crash("A")
    snapshot = next(path for path in files_of(cluster, "A") if path.suffix in {".dump", ".snapshot"})
    snapshot.write_bytes(b"")
    if cluster.hardened:
        with pytest.raises(StorageFault, match=str(snapshot)):
            cluster.boot("A")
    else:
        cluster.boot("A")
        cluster.elect("A")
        cluster.run(1)
        assert cluster.state("A") == [], "stock: leads with nothing of 20 acknowledged entries"


def test_hole_15_an_exception_in_apply_repeats(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def poisoned(data: bytes) -> None:
        if data == b"bad":
            calls.append(data)
            raise ValueError("a bug in the machine")

    class StockPoisoned(stock_cluster.Ledger):
        @stock_cluster.replicated  # type: ignore[untyped-decorator]
        def put(self, data: bytes) -> bytes:
            poisoned(data)
            return data

    class OursPoisoned(our_cluster.Ledger):
        def apply(self, index: int, entry: bytes) -> object:
            poisoned(entry)
            return super().apply(index, entry)

    cluster: Cluster = (
        Stock(tmp_path, 1, patch=monkeypatch, machine=StockPoisoned)
        if library == "stock"
        else Ours(tmp_path, 1, machine=OursPoisoned)
    )
    cluster.elect("A")
    outcome = cluster.propose("A", b"bad")
    for _ in range(20):
        try:
            if "A" in cluster.members:
                cluster.step()
        except ValueError:
            if cluster.hardened:  # the replica stops itself, see test_replica
                cluster.crash("A")
                cluster.step()
    assert (len(calls) == 1) is cluster.hardened
    assert outcome.settled is cluster.hardened
    assert not outcome.acknowledged
    if isinstance(cluster, Ours):
        cluster.close()


def test_hole_17_compaction_without_a_snapshot_file(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock accepts a journal without a file for snapshots; ours has no such setting."""
    cluster: Cluster = (
        Stock(tmp_path, 1, patch=monkeypatch, fullDumpFile=None) if library == "stock" else Ours(tmp_path, 1)
    )
    cluster.elect("A")
    entries = numbered(b"kept", 10)
    cluster.propose_all("A", entries)
    cluster.compact("A")
    cluster.crash("A")
    cluster.boot("A")
    cluster.elect("A")
    assert (cluster.state("A") == entries) is cluster.hardened
    if isinstance(cluster, Ours):
        cluster.close()


def test_hole_17_a_snapshot_leaves_attributes_out(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose state is made before the library begins comes back from a snapshot."""

    class StockEarly(stock_cluster.Ledger):
        def __init__(self, *arguments: Any) -> None:
            self.early: list[bytes] = []
            super().__init__(*arguments)

        @stock_cluster.replicated  # type: ignore[untyped-decorator]
        def put(self, data: bytes) -> bytes:
            self.early.append(data)
            return data

    cluster: Cluster = (
        Stock(tmp_path, 1, patch=monkeypatch, machine=StockEarly) if library == "stock" else Ours(tmp_path, 1)
    )
    cluster.elect("A")
    entries = numbered(b"kept", 10)
    cluster.propose_all("A", entries)
    cluster.compact("A")
    cluster.crash("A")
    cluster.boot("A")
    cluster.elect("A")
    state = cluster.members["A"].early if library == "stock" else cluster.state("A")
    assert (state == entries) is cluster.hardened
    if isinstance(cluster, Ours):
        cluster.close()


class Died(BaseException):
    """The process ends here."""


class DiesAfter:
    """Calls through `calls` times, then ends the process."""

    def __init__(self, calls: int, function: Callable[..., Any]) -> None:
        self._left = calls
        self._function = function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if not self._left:
            raise Died
        self._left -= 1
        return self._function(*arguments, **options)

    def __get__(self, instance: Any, owner: type) -> Any:
        return lambda *arguments, **options: self(instance, *arguments, **options)


class Nowhere:
    """A file that takes everything."""

    def write(self, offset: int, values: bytes) -> None: ...


def files_of(cluster: Cluster, name: str) -> list[Path]:
    if isinstance(cluster, Ours):
        return [path for path in cluster.data_dir(name).rglob("*") if path.is_file()]
    return list(cluster.folder.glob(f"{name}.*"))


def flip(path: Path, where: bytes) -> None:
    """Change one bit of the first letter behind the dash."""
    data = bytearray(path.read_bytes())
    data[data.index(where) + where.index(b"-") + 1] ^= 0x40
    path.write_bytes(data)


def lose_tail(cluster: Cluster, name: str, first: bytes) -> None:
    """Have the disk lose the journal from the entry `first` on, as if it had never been synced."""
    if isinstance(cluster, Stock):
        journal = stock_journal.FileJournal(str(cluster.journal_file(name)))
        journal.deleteEntriesFrom(next(at for at, entry in enumerate(journal[:]) if first in entry[0]))
        journal._destroy()
        return
    (segment,) = (path for path in files_of(cluster, name) if path.suffix == ".log")
    data = segment.read_bytes()
    segment.write_bytes(data[: data.index(first)])


def votes(cluster: Cluster, candidate: str, voter: str) -> list[str]:
    """Ask `voter` for its vote in term 7; return whom it votes for."""
    cluster.seen.clear()
    if isinstance(cluster, Ours):
        message: Any = VoteRequest(7, 1, 0, trial=False)
    else:
        message = {"type": "request_vote", "term": 7, "last_log_index": 1, "last_log_term": 0}
    cluster.receive(Sent(candidate, voter, "vote request", message))
    granted = [sent for sent in cluster.seen if sent.kind == "vote" and getattr(sent.message, "granted", True)]
    return [sent.receiver for sent in granted]
