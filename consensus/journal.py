"""The log on disk: append-only segments of checksummed batches, each made durable at once.

Layout of `NNNNNNNNNNNNNNNN.log`: a magic line, batches, and while it is written zeros behind them (`segment`). A batch
is what one group commit wrote:

    magic "OLJB" | payload bytes u32 | sequence u64 | payload CRC-32 u32 | CRC-32 of the header so far u32 | payload

and its payload is records `kind u8 | bytes u32 | body`, closed by a byte 255. Sequences count up without gaps through
all segments. Batch n+1 is written only after batch n is on disk, so a broken batch with an intact one behind it was
damaged later: the journal refuses to open. The last batch of all may be what a crash left of a write that nobody was
told of. It is cut off if it looks torn, that is, if it ends early or a sector of it was never written and reads as
zeros. Otherwise it was whole once and is damaged now, and the journal refuses to open.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from oarlock.consensus import segment
from oarlock.consensus.segment import BATCH_HEADER, BATCH_MAGIC, END, MAGIC, Segment
from oarlock.consensus.storage import Folder, StorageFault, fsync_directory, make_folder

SEGMENT_BYTES = 16 << 20
RECORD_HEADER = Struct("<BI")
INDEX_TERM = Struct("<QQ")

ENTRY, TRUNCATE, COMPACT, RESET, HARD_STATE, NEWCOMER, SEAT = range(1, 8)
INSTANCES_MAX = 16
"""Folders of one seat that are remembered: the one that has it, and those before it."""

FSYNC_SECONDS = Histogram(
    "etcd_disk_wal_fsync_duration_seconds",
    "Time until one journal write was durable.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192),
)
WRITTEN_BYTES = Counter("etcd_disk_wal_write_bytes", "Bytes written to the journal.")

ADVICE = (
    "The disk or a program damaged the file; nothing was changed. Check the disk, then restore this member's whole "
    "folder from a copy, or, while all other members are healthy, move the folder away and start the member empty: "
    "the leader fills it again"
)


class Entry(NamedTuple):
    """One log entry, in pysyncobj's order."""

    data: bytes
    index: int  # type: ignore[assignment] # shadows tuple.index
    term: int


class Commit:
    """One batch on its way to disk. `write` blocks and may run in another thread; nothing else may."""

    def __init__(self, segment: Segment, data: bytes, last_index: int, term: int) -> None:
        self._segment = segment
        self._place = segment.reserve(len(data))
        self._data = data
        self.last_index = last_index
        self.term = term

    def write(self) -> None:
        """Write the batch and make it durable; raises OSError, after which the journal must not be used again."""
        began = time.perf_counter()
        self._segment.write(self._place, self._data)
        FSYNC_SECONDS.observe(time.perf_counter() - began)
        WRITTEN_BYTES.inc(len(self._data))


class Journal:
    """Entries, hard state (term, vote) and seats. Changes count once `take`, `Commit.write` and `done` have run.

    Entries are also held in memory, from `first_index` on. `durable_index` and `durable_term` say what is on disk.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create the journal in `folder`; raises StorageFault if a file is damaged."""
        self.folder = folder
        self.term = 0
        self.vote: str | None = None
        self.newcomer = False
        """True from the first start of a member with peers until it has joined; see `joining`."""
        self.seats: dict[str, tuple[str, ...]] = {}
        """Member → the instances that have had its seat, the present one last; see `seats`."""
        self.bytes_held = 0
        self._segment_bytes = segment_bytes
        self._entries: list[Entry] = []
        self._records: list[bytes] = []
        self._in_flight: Commit | None = None
        self._sequence = 0
        self._segments: list[tuple[Path, int]] = []
        """Closed segments, each with the last index when it was closed."""
        make_folder(folder)
        self._segment = self._load()
        self.durable_index = self.last_index if self._entries else 0
        self.durable_term = self.term

    # What the log holds.

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first_index(self) -> int:
        return self._entries[0].index

    @property
    def last_index(self) -> int:
        return self._entries[-1].index

    @property
    def last_term(self) -> int:
        return self._entries[-1].term

    def at(self, index: int) -> Entry | None:
        """Return the entry with this index, None if it isn't in memory."""
        offset = index - self._entries[0].index
        return self._entries[offset] if 0 <= offset < len(self._entries) else None

    def after(self, index: int, bytes_max: int) -> list[Entry]:
        """Return the entries behind `index`, as many as fit in `bytes_max`, but at least one if there is any."""
        chosen: list[Entry] = []
        size = 0
        for position in range(index + 1 - self._entries[0].index, len(self._entries)):
            entry = self._entries[position]
            size += len(entry.data)
            if chosen and size > bytes_max:
                break
            chosen.append(entry)
        return chosen

    # Changes, all buffered.

    @property
    def dirty(self) -> bool:
        """True if there is something for `take`."""
        return bool(self._records)

    def append(self, entry: Entry) -> None:
        assert not self._entries or entry.index == self._entries[-1].index + 1, "a gap in the log"
        self._entries.append(entry)
        self.bytes_held += len(entry.data)
        self._record(ENTRY, INDEX_TERM.pack(entry.index, entry.term) + entry.data)

    def truncate_from(self, index: int) -> None:
        """Drop the entries from `index` on."""
        position = index - self._entries[0].index
        assert position > 0, "the log's base entry is never dropped"
        self.bytes_held -= sum(len(entry.data) for entry in self._entries[position:])
        del self._entries[position:]
        self.durable_index = min(self.durable_index, index - 1)
        if self._in_flight is not None:
            self._in_flight.last_index = min(self._in_flight.last_index, index - 1)
        self._record(TRUNCATE, INDEX_TERM.pack(index, 0))

    def compact_to(self, index: int) -> None:
        """Forget the entries before `index`, which becomes the base entry. A durable snapshot must cover it."""
        position = index - self._entries[0].index
        if position <= 0:
            return
        self.bytes_held -= sum(len(entry.data) for entry in self._entries[:position])
        del self._entries[:position]
        self._record(COMPACT, INDEX_TERM.pack(index, 0))

    def reset(self, base: Entry) -> None:
        """Replace the whole log by one base entry. A durable snapshot must cover it."""
        self._entries = [base]
        self.bytes_held = len(base.data)
        self.durable_index = 0
        if self._in_flight is not None:
            self._in_flight.last_index = 0
        self._record(RESET, INDEX_TERM.pack(base.index, base.term) + base.data)

    def set_hard_state(self, term: int, vote: str | None) -> None:
        self.term, self.vote = term, vote
        self._record(HARD_STATE, INDEX_TERM.pack(term, 0) + (vote or "").encode())

    def set_newcomer(self, newcomer: bool) -> None:
        self.newcomer = newcomer
        self._record(NEWCOMER, INDEX_TERM.pack(newcomer, 0))

    def holder(self, member: str) -> str:
        """Return the instance that has a member's seat, "" if none is known."""
        return self.seats.get(member, ("",))[-1]

    def set_seat(self, member: str, instance: str) -> None:
        """Give a member's seat to an instance that hasn't had it."""
        self._seat(member, instance)
        self._record(SEAT, _seat_record(member, instance))

    def _seat(self, member: str, instance: str) -> None:
        before = self.seats.get(member, ())
        assert instance not in before, "a seat that was lost is never regained"
        self.seats[member] = (*before, instance)[-INSTANCES_MAX:]

    # Group commit.

    def take(self) -> Commit:
        """Hand over everything buffered as one batch; one batch at a time."""
        assert self._in_flight is None, "a batch is on its way"
        payload = b"".join([*self._records, END])
        self._records = []
        self._sequence += 1
        data = segment.batch(self._sequence, payload)
        self._in_flight = Commit(self._segment, data, self.last_index, self.term)
        return self._in_flight

    def done(self, commit: Commit) -> None:
        """Note that `commit` is on disk. May begin a new segment and drop old ones."""
        assert commit is self._in_flight
        self._in_flight = None
        self.durable_index = max(self.durable_index, commit.last_index)
        self.durable_term = max(self.durable_term, commit.term)
        if self._segment.size >= self._segment_bytes:
            self._segments.append((self._segment.path, commit.last_index))
            self._segment.close()
            self._begin_segment()
        if self._segments and self._segments[0][1] < self.first_index and not self._records:
            self._drop_segments()

    def sync(self) -> None:
        """Write what is buffered, blocking."""
        if self._records:
            commit = self.take()
            commit.write()
            self.done(commit)

    def close(self) -> None:
        """Close the file; what is still buffered was promised to nobody and is dropped."""
        with contextlib.suppress(OSError):  # zeros at the end of the last segment do no harm
            self._segment.close()

    def _record(self, kind: int, body: bytes) -> None:
        self._records.append(RECORD_HEADER.pack(kind, len(body)))
        self._records.append(body)

    def _begin_segment(self) -> None:
        """Start a segment that stands alone: its first batch carries the hard state and the seats."""
        self._segment = self._opened(int(self._segment.path.stem) + 1)
        buffered, self._records = self._records, []
        self._record(HARD_STATE, INDEX_TERM.pack(self.term, 0) + (self.vote or "").encode())
        self._record(NEWCOMER, INDEX_TERM.pack(self.newcomer, 0))
        for member, instances in self.seats.items():
            for instance in instances:
                self._record(SEAT, _seat_record(member, instance))
        self._records += buffered

    def _opened(self, number: int, size: int = 0) -> Segment:
        """Return a segment whose batches end at `size`, 0 for a new one."""
        opened = Segment(self.folder / f"{number:016d}.log", size, self._segment_bytes)
        fsync_directory(self.folder)
        return opened

    def _drop_segments(self) -> None:
        while self._segments and self._segments[0][1] < self.first_index:
            self._segments.pop(0)[0].unlink()
        fsync_directory(self.folder)

    # Reading it back.

    def _load(self) -> Segment:
        """Read all segments; return the one to go on with."""
        paths = sorted(self.folder.glob("*.log"))
        end = 0
        for position, path in enumerate(paths):
            if position and int(path.stem) != int(paths[position - 1].stem) + 1:
                raise StorageFault(f"journal {self.folder}: the segment before {path.name} is missing. {ADVICE}")
            end = self._load_segment(path, is_first=position == 0, is_last=position == len(paths) - 1)
            if path is not paths[-1]:
                self._segments.append((path, self._entries[-1].index if self._entries else 0))
        return self._opened(int(paths[-1].stem) if paths else 1, end)

    def _load_segment(self, path: Path, *, is_first: bool, is_last: bool) -> int:
        """Return where its batches end, 0 if its creation was cut short."""
        data = path.read_bytes()
        if is_last and len(data) <= len(MAGIC) and (segment.is_blank(data, 0) or MAGIC.startswith(data)):
            os.truncate(path, 0)
            return 0
        if data[: len(MAGIC)] != MAGIC:
            raise StorageFault(f"journal {path} doesn't begin with {MAGIC!r}. {ADVICE}")
        position = len(MAGIC)
        while position < len(data):
            batch = segment.batch_at(data, position)
            if batch is None:
                if not (is_last and segment.is_blank(data, position)):
                    self._cut_tail(path, data, position, is_last=is_last)
                return position
            sequence, payload = batch
            if sequence != self._sequence + 1 and not (is_first and position == len(MAGIC)):
                raise StorageFault(
                    f"journal {path}: batch {sequence} at byte {position} follows batch {self._sequence}: "
                    f"batches are missing. {ADVICE}"
                )
            self._sequence = sequence
            self._replay(path, position, payload)
            position += BATCH_HEADER.size + len(payload)
        return position

    def _cut_tail(self, path: Path, data: bytes, position: int, *, is_last: bool) -> None:
        """Drop a batch that a crash has torn; raise StorageFault for one that was damaged after it was written."""
        where = f"journal {path}: batch {self._sequence + 1} at byte {position} has a wrong checksum"
        if not is_last:
            raise StorageFault(f"{where}, and later segments exist. {ADVICE}")
        candidate = data.find(BATCH_MAGIC, position + 1)
        while candidate >= 0:
            later = segment.batch_at(data, candidate)
            if later is not None and later[0] > self._sequence:
                raise StorageFault(f"{where}, but batch {later[0]} behind it is intact. {ADVICE}")
            candidate = data.find(BATCH_MAGIC, candidate + 1)
        if not segment.is_torn(data, position):
            raise StorageFault(f"{where}, but was once written as a whole. {ADVICE}")
        os.truncate(path, position)

    def _replay(self, path: Path, position: int, payload: bytes) -> None:
        offset = 0
        try:
            while payload[offset : offset + 1] != END:
                kind, size = RECORD_HEADER.unpack_from(payload, offset)
                offset += RECORD_HEADER.size
                body = payload[offset : offset + size]
                if len(body) < size:
                    raise ValueError("a record is cut short")
                self._replay_record(kind, body)
                offset += size
        except (ValueError, struct.error) as error:
            raise StorageFault(
                f"journal {path}: batch {self._sequence} at byte {position} makes no sense: {error}. {ADVICE}"
            ) from error

    def _replay_record(self, kind: int, body: bytes) -> None:
        index, term = INDEX_TERM.unpack_from(body)
        rest = body[INDEX_TERM.size :]
        entries = self._entries
        if kind == ENTRY:
            if entries and index != entries[-1].index + 1:
                raise ValueError(f"entry {index} follows entry {entries[-1].index}")
            entries.append(Entry(rest, index, term))
            self.bytes_held += len(rest)
        elif kind == TRUNCATE:
            self._entries = [entry for entry in entries if entry.index < index]
        elif kind == COMPACT:
            self._entries = [entry for entry in entries if entry.index >= index]
        elif kind == RESET:
            self._entries = [Entry(rest, index, term)]
        elif kind == HARD_STATE:
            self.term, self.vote = index, rest.decode() or None
        elif kind == NEWCOMER:
            self.newcomer = bool(index)
        elif kind == SEAT:
            member, _, instance = rest.decode().partition("\0")
            if instance not in self.seats.get(member, ()):  # each segment says again what those before it said
                self._seat(member, instance)
        else:
            raise ValueError(f"unknown record kind {kind}")
        if kind != ENTRY:
            self.bytes_held = sum(len(entry.data) for entry in self._entries)


def _seat_record(member: str, instance: str) -> bytes:
    return INDEX_TERM.pack(0, 0) + f"{member}\0{instance}".encode()


def open_journal(folder: Folder) -> Journal:
    """Open the journal of a replica's folder; raises StorageFault if it has been there and is gone, votes and all."""
    journal = Journal(folder.path / "journal")
    if folder.begun and not len(journal):
        journal.close()
        raise StorageFault(f"journal {journal.folder} is empty, but this member has written one. {ADVICE}")
    return journal
