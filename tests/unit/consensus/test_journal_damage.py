"""Whatever byte of a member's files changes, the member refuses to start or has everything that was ever synced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oarlock.consensus.journal import Entry, Journal, open_journal
from oarlock.consensus.segment import BATCH_HEADER, MAGIC
from oarlock.consensus.snapshot import SnapshotFolder, read_chunks
from oarlock.consensus.storage import Folder, FolderRefused, Identity, StorageFault

IDENTITY = Identity("cluster", "m0")
State = tuple[list[Entry], int, str | None, list[bytes]]


def write(folder: Path, *, killed: bool = False) -> State:
    """Fill a member's folder with three segments, a vote and a snapshot; return what it holds.

    A member that is `killed` leaves zeros behind what it wrote.
    """
    with_lock = Folder(folder, IDENTITY)
    journal = Journal(folder / "journal", segment_bytes=500)
    for index in range(1, 18):
        journal.append(Entry(b"entry %03d " % index + bytes(range(index)), index, 1 + index // 6))
        if index == 9:
            journal.set_hard_state(3, "m1")
        journal.sync()
    writer = SnapshotFolder(folder / "snapshots").write(9, 2, iter([b"a first chunk", b"and a second one"]))
    while writer.step():
        pass
    writer.publish()
    with_lock.begin()
    segment = journal._segment.path
    left = segment.read_bytes()
    journal.close()
    with_lock.close()
    state = read(folder)
    assert len(left) > len(segment.read_bytes()) == len(left.rstrip(b"\0")), "zeros are left by those who are killed"
    if killed:
        segment.write_bytes(left)
    return state


def read(folder: Path) -> State:
    """Start on a folder as a replica does; return what it holds."""
    with_lock = Folder(folder, IDENTITY)
    try:
        journal = open_journal(with_lock)
        try:
            latest = SnapshotFolder(folder / "snapshots").latest
            chunks = list(read_chunks(latest)) if latest else []
            entries = journal.after(journal.first_index - 1, 1 << 30)
            return entries, journal.term, journal.vote, chunks
        finally:
            journal.close()
    finally:
        with_lock.close()


def attempt(folder: Path) -> tuple[State | None, StorageFault | None]:
    try:
        return read(folder), None
    except StorageFault as fault:
        return None, fault


@pytest.fixture(scope="module", params=["stopped", "killed"])
def pristine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    folder = tmp_path_factory.mktemp("pristine")
    return folder, write(folder, killed=request.param == "killed")


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def copy(pristine: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)


@settings(max_examples=150, deadline=None)
@example(file=0, place=0.0, mask=1).via("the identity's first byte")
@given(file=st.integers(0, 99), place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_harmless(
    pristine: tuple[Path, State], tmp_path_factory: pytest.TempPathFactory, file: int, place: float, mask: int
) -> None:
    source, state = pristine
    folder = tmp_path_factory.getbasetemp() / "flipped"
    copy(source, folder)
    path = folder / files(folder)[file % len(files(folder))]
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= mask
    path.write_bytes(data)
    found, fault = attempt(folder)
    if fault is None:
        assert found == state
    else:
        assert str(path) in str(fault) or isinstance(fault, FolderRefused)
        assert path.read_bytes() == data, "nothing was changed"


def test_every_byte_of_the_last_batch_counts(pristine: tuple[Path, State], tmp_path: Path) -> None:
    """There is nothing behind it that proves that it was synced."""
    source, _ = pristine
    copy(source, tmp_path / "copy")
    segment = max((tmp_path / "copy" / "journal").glob("*.log"))
    whole = segment.read_bytes()
    for place in range(whole.rindex(b"OLJB"), len(whole.rstrip(b"\0"))):
        for bit in (0, 7):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            segment.write_bytes(data)
            with pytest.raises(StorageFault, match=r"batch \d+ at byte \d+ .* restore this member's whole folder"):
                read(tmp_path / "copy")


@pytest.mark.parametrize("zeros", [0, 1, 600, 5000])
def test_a_last_batch_of_which_something_was_never_written_is_cut_off(tmp_path: Path, zeros: int) -> None:
    """What a power cut leaves of one write: any of its sectors, the others zero or beyond the end of the file."""
    journal = Journal(tmp_path)
    journal.append(Entry(b"synced", 1, 1))
    journal.sync()
    size = journal._segment.size
    journal.append(Entry(b"x" * 3000, 2, 1))
    commit = journal.take()
    commit.write()
    journal.close()
    segment = next(tmp_path.glob("*.log"))
    whole = segment.read_bytes()
    starts = [size, *range(size - size % 512 + 512, len(whole), 512)]
    ends = [*starts[1:], len(whole)]
    left = [whole[:start] + bytes(end - start) + whole[end:] for start, end in zip(starts, ends, strict=True)]
    left += [whole[:cut].ljust(len(whole), b"\0") for cut in (*range(size, size + 30), *range(size, len(whole), 100))]
    left += [whole[:cut] for cut in range(size + 1, len(whole), 100)]
    for data in left:
        segment.write_bytes(data + bytes(zeros))
        again = Journal(tmp_path)
        assert again.last_index == 1
        again.append(Entry(b"another", 2, 2))
        again.sync()
        again.close()
        again = Journal(tmp_path)
        assert again.at(2) == Entry(b"another", 2, 2)
        again.close()


def test_a_batch_is_written_over_zeros(tmp_path: Path) -> None:
    """A killed member goes on where it was, in a file that doesn't grow with each batch."""
    journal = Journal(tmp_path, segment_bytes=20_000)
    segment = next(tmp_path.glob("*.log"))
    sizes = set()
    for index in range(1, 21):
        journal.append(Entry(b"x" * 500, index, 1))
        journal.sync()
        sizes.add(segment.stat().st_size)
        journal = Journal(tmp_path, segment_bytes=20_000)  # the one before was killed
        assert (journal.last_index, journal.durable_index) == (index, index)
    assert sizes == {20_000}, "as much as a segment may hold"
    journal.close()
    assert segment.stat().st_size == journal._segment.size < 20_000


def test_zeros_in_an_earlier_segment_are_damage(tmp_path: Path) -> None:
    """No segment follows one that has zeros: whatever reads as zeros there was a batch, also if nothing follows yet."""
    journal = Journal(tmp_path, segment_bytes=100)
    journal.append(Entry(b"x" * 20, 1, 1))
    journal.sync()
    end = journal._segment.size
    journal.append(Entry(b"x" * 80, 2, 1))
    journal.sync()
    journal.close()
    first, second = sorted(tmp_path.glob("*.log"))
    assert second.read_bytes() == MAGIC
    whole = first.read_bytes()
    first.write_bytes(whole[:end] + bytes(len(whole) - end))
    with pytest.raises(StorageFault, match="later segments exist"):
        Journal(tmp_path)


def test_a_segment_that_is_left_has_no_zeros(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=20_000)
    journal._segment_bytes = 100  # a setting that has changed since it was begun
    journal.append(Entry(b"x" * 100, 1, 1))
    journal.sync()
    assert len(list(tmp_path.glob("*.log"))) == 2
    assert not min(tmp_path.glob("*.log")).read_bytes().endswith(b"\0")
    assert Journal(tmp_path).last_index == 1


def test_no_room_for_zeros_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that finds room for the batch and some of the zeros is short, as POSIX has it."""
    really = os.pwritev

    def short(descriptor: int, buffers: list[bytes], place: int) -> int:
        return really(descriptor, [b"".join(buffers)[:300]], place)

    monkeypatch.setattr(os, "pwritev", short)
    journal = Journal(tmp_path)
    for index in range(1, 6):
        journal.append(Entry(b"x" * 100 * index, index, 1))
        journal.sync()
    again = Journal(tmp_path)
    assert [len(entry.data) for entry in again.after(0, 1 << 20)] == [100, 200, 300, 400, 500]


def test_a_torn_batch_with_an_intact_one_behind_it_is_damage(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for index in (1, 2, 3):
        journal.append(Entry(b"x" * 2000, index, 1))
        journal.sync()
    journal.close()
    segment = next(tmp_path.glob("*.log"))
    data = segment.read_bytes()
    segment.write_bytes(data[:2600] + bytes(512) + data[3112:])
    with pytest.raises(StorageFault, match="batch 2 at byte .* but batch 3 behind it is intact"):
        Journal(tmp_path)


@pytest.mark.parametrize("begun", [b"", MAGIC[:7], bytes(16), MAGIC])
def test_a_segment_whose_creation_was_cut_short_is_begun_again(tmp_path: Path, begun: bytes) -> None:
    journal = Journal(tmp_path, segment_bytes=100)
    while len(list(tmp_path.glob("*.log"))) < 3:
        journal.append(Entry(b"x" * 50, len(journal) + 1, 1))
        journal.sync()
    journal.close()
    max(tmp_path.glob("*.log")).write_bytes(begun)
    again = Journal(tmp_path)
    assert again.last_index == len(journal)
    again.append(Entry(b"more", again.last_index + 1, 1))
    again.sync()
    again.close()
    assert Journal(tmp_path).last_index == len(journal) + 1


def test_a_journal_that_is_gone_is_refused(pristine: tuple[Path, State], tmp_path: Path) -> None:
    copy(pristine[0], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "journal")
    with pytest.raises(StorageFault, match=r"journal .* is empty, but this member has written one"):
        read(tmp_path / "copy")
    assert BATCH_HEADER.size == 24, "as the layout says"
