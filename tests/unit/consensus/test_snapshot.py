"""Snapshot files are whole and verified, or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from oarlock.consensus.snapshot import Snapshot, SnapshotFolder, SnapshotSource, read_chunks
from oarlock.consensus.storage import StorageFault

CHUNKS = [b"one", b"two" * 1000, b"", b"three"]


def written(folder: SnapshotFolder, index: int) -> Snapshot:
    writer = folder.write(index, 3, iter(CHUNKS))
    while writer.step():
        pass
    return writer.publish()


def test_what_was_written_is_read_back_without_empty_chunks(tmp_path: Path) -> None:
    written(SnapshotFolder(tmp_path), 7)
    latest = SnapshotFolder(tmp_path).latest
    assert latest is not None
    assert (latest.index, latest.term) == (7, 3)
    assert list(read_chunks(latest)) == [chunk for chunk in CHUNKS if chunk]


def test_a_newer_one_replaces_the_older_and_never_the_other_way_round(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path)
    written(folder, 7)
    newest = written(folder, 9)
    assert written(folder, 8) == newest
    assert [path.name for path in tmp_path.iterdir()] == [newest.path.name]


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path)
    folder.write(5, 1, iter(CHUNKS)).step()
    assert SnapshotFolder(tmp_path).latest is None
    assert not list(tmp_path.iterdir())


def test_every_damaged_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path)
    writer = folder.write(7, 3, iter([b"one", b"two"]))
    while writer.step():
        pass
    snapshot = writer.publish()
    whole = snapshot.path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        for content in (bytes(damaged), whole[:place]):
            snapshot.path.write_bytes(content)
            with pytest.raises(StorageFault, match=str(snapshot.path)):
                list(read_chunks(snapshot))


def test_a_transfer_is_verified_before_it_counts(tmp_path: Path) -> None:
    source = SnapshotSource(written(SnapshotFolder(tmp_path / "leader"), 7))
    folder = SnapshotFolder(tmp_path / "follower")
    receiver = folder.receive(7, 3)
    size = source.snapshot.size
    receiver.write(0, source.read(0, 100))
    receiver.write(0, b"repeated")
    receiver.write(100, b"x" * (size - 100))
    with pytest.raises(StorageFault):
        receiver.finish()
    receiver.abandon()
    assert folder.latest is None
    receiver = folder.receive(7, 3)
    while receiver.offset < size:
        receiver.write(receiver.offset, source.read(receiver.offset, 1000))
    assert list(read_chunks(receiver.finish())) == [chunk for chunk in CHUNKS if chunk]
    source.close()


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 10_000])
def test_what_arrives_is_verified_as_it_comes(tmp_path: Path, piece_bytes: int) -> None:
    whole = written(SnapshotFolder(tmp_path / "leader"), 7).path.read_bytes()
    folder = SnapshotFolder(tmp_path / "follower")
    places = [0, 20, 30, 1000, len(whole) - 30, len(whole) - 1]
    changed = [whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :] for place in places]
    for content in (*changed, whole[:-1], whole[:100], b"", whole + b"x", whole):
        receiver = folder.receive(7, 3)
        for start in range(0, len(content), piece_bytes):
            receiver.write(start, content[start : start + piece_bytes])
        if content == whole:
            assert list(read_chunks(receiver.finish())) == [chunk for chunk in CHUNKS if chunk]
        else:
            with pytest.raises(StorageFault, match="received"):
                receiver.finish()
            receiver.abandon()
