"""Replicas on real sockets and files: they elect, replicate, recover, and refuse what would harm the data."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oarlock.consensus import chassis, journal
from oarlock.consensus.chassis import UnsuitableLibrary, check_library
from oarlock.consensus.log import ENTRY_BYTES_MAX, NotLeader
from oarlock.consensus.model import InvalidRequest, UnknownOutcome
from oarlock.consensus.proposals import QUEUE_BYTES_MAX, Proposals
from oarlock.consensus.raft import Times
from oarlock.consensus.replica import Replica, ReplicaFailed, ReplicaReplaced, ReplicaSettings
from oarlock.consensus.storage import FolderRefused, StorageFault


class Ledger:
    """Keeps every entry; an entry's outcome is its place."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, index: int, entry: bytes) -> object:
        if entry == b"poison":
            raise RuntimeError("a bug in the machine")
        self.entries.append(entry)
        return len(self.entries)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.entries)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.entries = b"".join(chunks).split(b"\n")


class Cluster:
    """Replicas of one test, with their ledgers, on ports of their own."""

    def __init__(self, folder: Path, size: int, **settings: Any) -> None:
        sockets = {f"m{number}": socket.create_server(("127.0.0.1", 0)) for number in range(size)}
        self.members = {name: listener.getsockname() for name, listener in sockets.items()}
        self.settings = {name: ReplicaSettings(name, self.members, folder / name, **settings) for name in self.members}
        self.ledgers: dict[str, Ledger] = {}
        self.replicas: dict[str, Replica] = {}
        self.leading: asyncio.Queue[Replica] = asyncio.Queue()
        self._sockets = sockets

    async def start(self, *names: str) -> None:
        for name in names or self.members:
            ledger = self.ledgers[name] = Ledger()
            replica = Replica(self.settings[name], ledger, listener=self._sockets.pop(name, None))
            self.replicas[name] = replica
            replica.on_leadership(lambda leads, _, replica=replica: leads and self.leading.put_nowait(replica))
            await replica.start()

    async def leader(self) -> Replica:
        return await self.leading.get()

    async def stop(self) -> None:
        for replica in self.replicas.values():
            await replica.stop()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(40):
            await test()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is awaited happens on disk or in another replica
        await asyncio.sleep(0.01)


def test_a_single_member_leads_at_once_and_keeps_everything(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 1)
        await cluster.start()
        leader = await cluster.leader()
        outcomes = await asyncio.gather(*[leader.propose(b"%d" % number) for number in range(100)])
        assert outcomes == list(range(1, 101))
        assert leader.last_index < 20, "proposals of one turn share an entry"
        assert await leader.read_index() == leader.applied
        await leader.stop()
        with pytest.raises(NotLeader):
            await leader.propose(b"late")
        await cluster.start()
        again = await cluster.leader()
        assert cluster.ledgers["m0"].entries == [b"%d" % number for number in range(100)]
        assert again.term == 2
        await cluster.stop()

    run(test)


def test_three_members_replicate_and_survive_the_leader(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 3)
        await cluster.start()
        first = await cluster.leader()
        await asyncio.gather(*[first.propose(b"%d" % number) for number in range(50)])
        follower = next(replica for replica in cluster.replicas.values() if replica is not first)
        await until(lambda: follower.leader == first.name)
        with pytest.raises(NotLeader) as refusal:
            await follower.propose(b"x")
        assert refusal.value.leader == first.name
        with pytest.raises(NotLeader):
            await follower.read_index()
        await first.stop()
        second = await cluster.leader()
        assert second.name != first.name
        assert await second.propose(b"after") == 51
        await cluster.start(first.name)
        await until(lambda: len(cluster.ledgers[first.name].entries) == 51)
        assert cluster.ledgers[first.name].entries == cluster.ledgers[second.name].entries
        await cluster.stop()

    run(test)


def test_an_orderly_stop_hands_leadership_over(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 3)
        await cluster.start()
        first = await cluster.leader()
        await first.propose(b"x")
        term = first.term
        await first.stop()
        assert any(replica.is_leader for replica in cluster.replicas.values()), "before the old leader is gone"
        second = await cluster.leader()
        assert (await second.propose(b"y"), second.term) == (2, term + 1)
        with pytest.raises(NotLeader):
            await first.transfer()
        await cluster.stop()

    run(test)


def test_a_lagging_follower_gets_a_snapshot_and_a_restart_loads_it(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 3, snapshot_after_bytes=2000, keep_bytes=100)
        await cluster.start("m0", "m1")
        leader = await cluster.leader()
        for number in range(100):
            await leader.propose(b"%0100d" % number)
        folder = cluster.settings[leader.name].data_dir / "snapshots"
        await until(lambda: any(folder.glob("*.snapshot")))
        await cluster.start("m2")
        await until(lambda: len(cluster.ledgers["m2"].entries) == 100)
        assert list((cluster.settings["m2"].data_dir / "snapshots").glob("*.snapshot"))
        await leader.propose(b"more")
        await until(lambda: len(cluster.ledgers["m2"].entries) == 101)
        await cluster.stop()
        await cluster.start()
        await cluster.leader()
        await until(lambda: all(len(ledger.entries) == 101 for ledger in cluster.ledgers.values()))
        assert cluster.ledgers["m2"].entries == cluster.ledgers["m0"].entries
        await cluster.stop()

    run(test)


def test_without_a_majority_nothing_is_acknowledged_and_the_leader_steps_down(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 3)
        await cluster.start()
        leader = await cluster.leader()
        for name, replica in cluster.replicas.items():
            if name != leader.name:
                await replica.stop()
        proposal, read = leader.propose(b"x"), leader.read_index()
        with pytest.raises(UnknownOutcome):
            await proposal
        with pytest.raises(NotLeader):
            await read
        assert not leader.is_leader
        await cluster.stop()

    run(test)


def test_a_folder_is_used_once_and_by_its_owner_only(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 1)
        await cluster.start()
        settings = cluster.settings["m0"]
        with pytest.raises(FolderRefused, match=r"in use by another process \(pid \d+\)"):
            await Replica(settings, Ledger()).start()
        await cluster.stop()
        for other, reason in (
            (ReplicaSettings("m0", cluster.members, settings.data_dir, cluster="else"), "belongs to cluster 'oarlock'"),
            (ReplicaSettings("m9", {"m9": ("127.0.0.1", 1)}, settings.data_dir), "belongs to member 'm0'"),
        ):
            with pytest.raises(FolderRefused, match=reason):
                await Replica(other, Ledger()).start()
        identity = settings.data_dir / "identity.json"
        identity.write_text(identity.read_text().replace('"version": 1', '"version": 99'))
        with pytest.raises(FolderRefused, match="format version 99"):
            await Replica(settings, Ledger()).start()
        identity.unlink()
        with pytest.raises(FolderRefused, match=r"no identity\.json"):
            await Replica(settings, Ledger()).start()

    run(test)


def test_a_missing_snapshot_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 1, snapshot_after_bytes=500, keep_bytes=0)
        await cluster.start()
        leader = await cluster.leader()
        folder = cluster.settings["m0"].data_dir / "snapshots"
        for number in range(30):
            await leader.propose(b"%0100d" % number)
        await until(lambda: any(folder.glob("*.snapshot")))
        await leader.propose(b"so that the compaction is written")
        await cluster.stop()
        for path in folder.glob("*.snapshot"):
            path.unlink()
        with pytest.raises(StorageFault, match="missing"):
            await cluster.start()

    run(test)


async def _emptied(tmp_path: Path) -> tuple[Cluster, Replica, str]:
    """Return a cluster, its leader, and a follower that runs on a new folder: the one with an entry is in "old"."""
    cluster = Cluster(tmp_path, 3)
    await cluster.start()
    leader = await cluster.leader()
    name = next(name for name in cluster.members if name != leader.name)
    assert await leader.propose(b"before") == 1
    await cluster.replicas[name].stop()
    (tmp_path / name).rename(tmp_path / "old")
    await cluster.start(name)
    return cluster, leader, name


def test_a_replaced_folder_that_comes_back_stops_itself_for_good(tmp_path: Path) -> None:
    async def test() -> None:
        cluster, leader, name = await _emptied(tmp_path)
        folder, old, new = (tmp_path / one for one in (name, "old", "new"))
        await until(lambda: cluster.ledgers[name].entries == [b"before"])
        assert await leader.propose(b"after") == 2
        await cluster.replicas[name].stop()
        folder.rename(new)
        shutil.copytree(old, folder)
        await cluster.start(name)
        with pytest.raises(ReplicaReplaced, match=rf"{name} stopped: member m\d says .* newer folder than {folder}"):
            await cluster.replicas[name].wait()
        assert ReplicaReplaced.final
        await cluster.replicas[name].stop()
        for path in (old / "journal").iterdir():
            assert (folder / "journal" / path.name).read_bytes() == path.read_bytes(), "nothing was written"
        assert await leader.propose(b"later") == 3
        shutil.rmtree(folder)
        new.rename(folder)
        await cluster.start(name)
        await until(lambda: len(cluster.ledgers[name].entries) == 3)
        await cluster.stop()

    run(test)


def test_a_second_folder_of_a_living_member_doesn_t_disturb_it(tmp_path: Path) -> None:
    """Started elsewhere under its name: its folder from before, which stops, and an empty one, which waits."""

    async def test() -> None:
        cluster, leader, name = await _emptied(tmp_path)
        living = cluster.replicas[name]
        await until(lambda: living._raft is not None and not living._raft.journal.newcomer)
        second: dict[str, Replica] = {}
        for place in ("old", "empty"):
            listener = socket.create_server(("127.0.0.1", 0))
            members = {**cluster.members, name: listener.getsockname()}
            second[place] = Replica(ReplicaSettings(name, members, tmp_path / place), Ledger(), listener=listener)
            await second[place].start()
        with pytest.raises(ReplicaReplaced):
            await second["old"].wait()
        for number in range(2, 30):
            assert await leader.propose(b"%d" % number) == number
        await until(lambda: len(cluster.ledgers[name].entries) == 29)
        assert (leader.term, living.leader) == (1, leader.name), "nobody had to be elected anew"
        waiting = second["empty"]._raft
        assert waiting is not None
        assert (waiting.term, waiting.journal.newcomer, waiting.journal.last_index) == (0, True, 1)
        await second["empty"].stop()
        await cluster.stop()

    run(test)


def test_a_failed_write_stops_the_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 1)
        await cluster.start()
        leader = await cluster.leader()

        def no_space(_: journal.Commit) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(journal.Commit, "write", no_space)
        proposal = leader.propose(b"x")
        with pytest.raises(ReplicaFailed, match="m0 stopped: can't write the journal in .*No space left"):
            await leader.wait()
        with pytest.raises(UnknownOutcome):
            await proposal
        assert not leader.is_leader

    run(test)


def test_an_exception_in_apply_stops_the_replica_instead_of_repeating(tmp_path: Path) -> None:
    async def test() -> None:
        cluster = Cluster(tmp_path, 1)
        await cluster.start()
        leader = await cluster.leader()
        proposal = leader.propose(b"poison")
        with pytest.raises(ReplicaFailed, match="a bug in the machine"):
            await leader.wait()
        with pytest.raises(UnknownOutcome):
            await proposal

    run(test)


def test_a_port_in_use_leaves_nothing_half_started(tmp_path: Path) -> None:
    async def test() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        settings = ReplicaSettings("m0", {"m0": taken.getsockname()}, tmp_path / "m0")
        with pytest.raises(OSError, match="in use"):
            await Replica(settings, Ledger()).start()
        taken.close()
        replica = Replica(settings, Ledger())
        await replica.start()
        await replica.stop()

    run(test)


@pytest.mark.parametrize("times", [(0.1, 0.2, 0.4), (0.05, 0.5, 0.5)])
def test_timers_that_would_flap_are_refused(times: tuple[float, float, float], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="election timeouts"):
        ReplicaSettings("m0", {"m0": ("127.0.0.1", 1)}, tmp_path, times=Times(*times))


def test_proposals_are_bounded() -> None:
    async def test() -> None:
        proposals, loop = Proposals(), asyncio.get_running_loop()
        too_long, fits = loop.create_future(), loop.create_future()
        proposals.add(too_long, bytes(ENTRY_BYTES_MAX + 1))
        assert isinstance(too_long.exception(), InvalidRequest)
        for _ in range(QUEUE_BYTES_MAX // ENTRY_BYTES_MAX):
            proposals.add(fits, bytes(ENTRY_BYTES_MAX))
        assert not fits.done()
        too_many = loop.create_future()
        proposals.add(too_many, bytes(ENTRY_BYTES_MAX))
        assert "too many" in str(too_many.exception())

    run(test)


def test_another_pysyncobj_is_refused() -> None:
    check_library()
    with pytest.raises(UnsuitableLibrary, match=r"0\.3\.18 is installed"):
        check_library(version="0.3.18")

    class Renamed:
        """A library whose private methods have other names."""

    with pytest.raises(UnsuitableLibrary, match="__onMessageReceived"):
        check_library(Renamed, chassis.PINNED_VERSION)
