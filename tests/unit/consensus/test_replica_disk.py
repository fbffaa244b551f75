"""A disk that is full or fails: what could lose data stops the replica, what can wait is tried again."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oarlock.consensus import segment as segment_module
from oarlock.consensus import snapshot as snapshot_module
from oarlock.consensus.model import UnknownOutcome
from oarlock.consensus.replica import SNAPSHOTS_FAILED, Replica, ReplicaFailed, ReplicaSettings

Test = Callable[[Replica], Awaitable[None]]


class Ledger:
    """Keeps every entry; an entry's outcome is its place."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, index: int, entry: bytes) -> object:
        self.entries.append(entry)
        return len(self.entries)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.entries)])

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.entries = b"".join(chunks).split(b"\n")


class FailingOs:
    """The `os` module as a journal or snapshot sees it, some of whose calls fail and are counted."""

    def __init__(self, fails: dict[str, int]) -> None:
        self.fails = fails
        self.failed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name) if name not in self.fails else lambda *_, **__: self._fail(name)

    def _fail(self, name: str) -> None:
        self.failed.append(name)
        raise OSError(self.fails[name], os.strerror(self.fails[name]))


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    settings = ReplicaSettings("m0", {"m0": ("127.0.0.1", 0)}, tmp_path / "m0", snapshot_after_bytes=2000)
    return Replica(settings, Ledger())


def run(replica: Replica, test: Test) -> None:
    """Start a cluster of one, and test it once it leads."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            leads = asyncio.Event()
            replica.on_leadership(lambda now, _: leads.set() if now else None)
            await replica.start()
            await leads.wait()
            await replica.propose(b"before")
            await test(replica)
            await replica.stop()

    asyncio.run(limited())


@pytest.mark.parametrize("grows", [True, False])
@pytest.mark.parametrize(("call", "number"), [("pwritev", errno.ENOSPC), ("pwritev", errno.EIO)])
def test_a_journal_write_that_fails_ends_the_replica_at_once(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, *, grows: bool
) -> None:
    failing = FailingOs({call: number})

    async def test(replica: Replica) -> None:
        assert replica._raft is not None
        if grows:  # as when all zeros are used up
            replica._raft.journal._segment._end = 0
        monkeypatch.setattr(segment_module, "os", failing)
        lost = replica.propose(b"lost")
        with pytest.raises(ReplicaFailed, match=f"m0 stopped: can't write the journal in .*{os.strerror(number)}"):
            await replica.wait()
        with pytest.raises(UnknownOutcome):
            await lost
        assert failing.failed == [call], "never tried again: a second fsync says nothing about the first"

    run(replica, test)
    monkeypatch.undo()
    again = Replica(replica.settings, Ledger())

    async def check(replica: Replica) -> None:
        entries = replica._machine.entries  # type: ignore[attr-defined]
        assert entries in ([b"before", b"before"], [b"before", b"lost", b"before"]), "all that was acknowledged"

    run(again, check)


def test_a_segment_that_cannot_be_created_ends_the_replica(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(replica: Replica) -> None:
        assert replica._raft is not None
        replica._raft.journal._segment_bytes = 1
        monkeypatch.setattr(segment_module, "os", FailingOs({"open": errno.ENOSPC}))
        proposed = replica.propose(b"x")
        with pytest.raises(ReplicaFailed, match="m0 stopped: .*No space left on device"):
            await replica.wait()
        with pytest.raises(UnknownOutcome):
            await proposed

    run(replica, test)


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_a_snapshot_that_finds_no_room_is_counted_and_tried_again(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    failed = SNAPSHOTS_FAILED._value.get()
    folder = replica.settings.data_dir / "snapshots"
    retried = asyncio.Event()
    paused = asyncio.Event()

    async def pause(_: float) -> None:
        paused.set()
        await retried.wait()

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def test(replica: Replica) -> None:
        replica._pause = pause
        with monkeypatch.context() as patch:
            if call == "write":
                patch.setattr(snapshot_module.SnapshotWriter, "step", full)
            else:
                patch.setattr(snapshot_module, "os", FailingOs({call: errno.ENOSPC}))
            for number in range(10):
                await replica.propose(b"%0500d" % number)
            await paused.wait()
        assert not list(folder.iterdir()), "nothing half-written takes up room"
        assert SNAPSHOTS_FAILED._value.get() == failed + 1
        await replica.propose(b"goes on")
        retried.set()
        while not list(folder.glob("*.snapshot")):
            await replica.propose(b"and on")
            await asyncio.sleep(0.01)

    run(replica, test)
