"""The machine's whole state as bytes and back, in steps of a few milliseconds.

What is taken is the state at the call: records are immutable and their table copies itself part by part, before a part
changes, and the chunks are encoded as they are drawn. Loading is a generator that is as patient. The stream is a
sequence of sections, each a length and the msgpack of (section, rows), cut into chunks of `CHUNK_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from struct import Struct
from typing import Any, NamedTuple, TypeVar

import msgspec

from oarlock.consensus.commands import Action, Grant, Outcome, Revoke
from oarlock.consensus.encoding import decode_error, decode_outcome, encode, encode_error, encode_outcome
from oarlock.consensus.history import History
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import Event, EventKind, KeyValue, LeaseStatus, StoreError, Transaction, TransactionResult
from oarlock.consensus.sessions import outcome_bytes

FORMAT = 2
CHUNK_BYTES = 256 << 10
ROWS_MAX = 500
SECTION_BYTES = 256 << 10
"""A section ends with whichever comes first: encoding or loading one takes about a millisecond."""
PARTS_MAX = 500
"""Events of one revision, or keys of one lease, that stand in one row."""

T = TypeVar("T")
_LENGTH = Struct(">I")
_HEADER, _LIVE, _LOG, _LEASES, _SESSIONS = range(5)
_IN_LOG = 0


class _Header(NamedTuple):
    format: int
    revision: int
    compact_revision: int
    log_start: int
    last_lease: int


class _Change(NamedTuple):
    """An event. `kv` is only its key if that version still lives; `previous` is `_IN_LOG` if the log has it."""

    kv: KeyValue | bytes
    previous: KeyValue | int | None


class _LogRow(NamedTuple):
    """A revision's events, or more of them if it `goes_on` from the row before."""

    goes_on: bool
    changes: list[_Change]


class _LeaseRow(NamedTuple):
    """A lease with some of its keys; further rows have the others."""

    lease: int
    ttl_ms: int
    keys: list[bytes]


class _SessionRow(NamedTuple):
    """A client with one of its outcomes as (sequence, tag, bytes), or with none."""

    client: int
    acknowledged: int
    outcome: tuple[int, int, bytes] | None


_DECODERS: dict[int, Any] = {
    _HEADER: msgspec.msgpack.Decoder(list[_Header]),
    _LIVE: msgspec.msgpack.Decoder(list[KeyValue]),
    _LOG: msgspec.msgpack.Decoder(list[_LogRow]),
    _LEASES: msgspec.msgpack.Decoder(list[_LeaseRow]),
    _SESSIONS: msgspec.msgpack.Decoder(list[_SessionRow]),
}
_SAMPLE_ACTIONS: dict[int, Action] = {1: Transaction(), 2: Grant(0, 0), 3: Revoke(0)}


def take(machine: Machine) -> Iterator[bytes]:
    """Return the machine's state as of this call in chunks that are encoded as they are drawn."""
    records, log_start, log = machine.history.capture()
    header = _Header(FORMAT, machine.revision, machine.compact_revision, log_start, machine.last_lease)
    leases = [(lease, held.ttl_ms, list(held.keys)) for lease, held in machine.leases.items()]
    sessions = [
        (client, session.acknowledged, list(session.outcomes.items()))
        for client, session in machine.sessions.clients.items()
    ]
    return _chunked(_sections(header, records, log, leases, sessions))


def load(chunks: Iterable[bytes]) -> Machine:
    """Return the machine that was taken. Raises ValueError for bytes that are no such state."""
    steps = loading(chunks)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            machine: Machine = done.value
            return machine


def loading(chunks: Iterable[bytes]) -> Generator[None, None, Machine]:
    """Load in steps of about a millisecond: yields after each and returns the machine, as `load` does."""
    loader: _Loader | None = None
    for section, body in _bodies(chunks):
        try:
            rows = _DECODERS[section].decode(body)
            if loader is None:
                loader = _Loader(rows, section)
            else:
                loader.take(section, rows)
        except (msgspec.MsgspecError, LookupError) as malformed:
            raise ValueError(f"malformed state: {malformed}") from None
        yield
    if loader is None:
        raise ValueError("empty state")
    return loader.machine


class _Loader:
    """A machine that is filled section by section, in the order in which `take` gives them."""

    def __init__(self, rows: list[Any], section: int) -> None:
        if section != _HEADER or len(rows) != 1 or rows[0].format != FORMAT:
            raise ValueError(f"state of another format than {FORMAT}")
        header: _Header = rows[0]
        self.machine = Machine()
        self.machine.restore_counters(header.revision, header.last_lease)
        self.machine.history = History(header.log_start, header.compact_revision)
        self._newest_logged: dict[bytes, KeyValue] = {}

    def take(self, section: int, rows: list[Any]) -> None:
        machine = self.machine
        if section == _LIVE:
            machine.history.restore_live(rows)
        elif section == _LOG:
            for row in rows:
                events = tuple([self._relinked(change) for change in row.changes])
                machine.history.restore_log(events, goes_on=row.goes_on)
        elif section == _LEASES:
            for row in rows:
                machine.restore_lease(*row)
        else:
            for client, acknowledged, outcome in rows:
                session = machine.sessions.restore(client, acknowledged)
                if outcome is not None:
                    sequence, tag, body = outcome
                    machine.sessions.restore_outcome(session, sequence, _outcome(tag, body))

    def _relinked(self, change: _Change) -> Event:
        """Return the event, every version in it one object, however often the log, the past and the present show it."""
        stored, previous = change
        kv = self.machine.history.current[stored] if isinstance(stored, bytes) else stored
        before = self._newest_logged[kv.key] if previous == _IN_LOG else previous
        assert not isinstance(before, int)
        self._newest_logged[kv.key] = kv
        return Event(EventKind.PUT if kv.version else EventKind.DELETE, kv, before)


def _sections(
    header: _Header,
    records: Iterable[Iterable[KeyValue]],
    log: list[tuple[Event, ...]],
    leases: list[tuple[int, int, list[bytes]]],
    sessions: list[tuple[int, int, list[tuple[int, Outcome]]]],
) -> Iterator[bytes]:
    yield _section(_HEADER, [header])
    newest: dict[bytes, KeyValue] = {}
    for shard in records:
        newest.update({kv.key: kv for kv in shard if kv.mod_revision >= header.log_start})
        for part in _parted(shard, _record_bytes):
            yield _section(_LIVE, part)
    for logged in _parted(_log_rows(log), _logged_bytes):
        rows = [_LogRow(on, [_unlinked(event, newest, header.log_start) for event in events]) for on, events in logged]
        yield _section(_LOG, rows)
    for held in _parted(_lease_rows(leases), lambda row: sum(map(len, row.keys))):
        yield _section(_LEASES, held)
    for known in _parted(_session_rows(sessions), lambda row: outcome_bytes(row[2][1]) if row[2] else 0):
        yield _section(_SESSIONS, [(client, past, one and _tagged(*one)) for client, past, one in known])


def _parted(rows: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut rows into sections."""
    part: list[T] = []
    size = 0
    for row in rows:
        part.append(row)
        size += size_of(row)
        if len(part) == ROWS_MAX or size >= SECTION_BYTES:
            yield part
            part = []
            size = 0
    if part:
        yield part


def _log_rows(log: list[tuple[Event, ...]]) -> Iterator[tuple[bool, tuple[Event, ...]]]:
    for events in log:
        for at in range(0, len(events), PARTS_MAX):
            yield at > 0, events[at : at + PARTS_MAX]


def _lease_rows(leases: list[tuple[int, int, list[bytes]]]) -> Iterator[_LeaseRow]:
    for lease, ttl_ms, keys in leases:
        for at in range(0, len(keys) or 1, PARTS_MAX):
            yield _LeaseRow(lease, ttl_ms, keys[at : at + PARTS_MAX])


def _session_rows(
    sessions: list[tuple[int, int, list[tuple[int, Outcome]]]],
) -> Iterator[tuple[int, int, tuple[int, Outcome] | None]]:
    for client, acknowledged, outcomes in sessions:
        if not outcomes:
            yield client, acknowledged, None
        for outcome in outcomes:
            yield client, acknowledged, outcome


def _record_bytes(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value)


def _logged_bytes(row: tuple[bool, tuple[Event, ...]]) -> int:
    """Return at least the bytes of a row's versions; a previous one may be in the log itself, and is counted twice."""
    size = 0
    for event in row[1]:
        size += _record_bytes(event.kv)
        if event.previous is not None:
            size += len(event.previous.value)
    return size


def _section(section: int, rows: list[Any]) -> bytes:
    body = encode(rows)
    return _LENGTH.pack(len(body) + 1) + bytes((section,)) + body


def _chunked(sections: Iterator[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for section in sections:
        buffer += section
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


def _bodies(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        position = 0
        while len(buffer) - position > _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, position)
            end = position + _LENGTH.size + length
            if end > len(buffer):
                break
            start = position + _LENGTH.size
            yield buffer[start], bytes(memoryview(buffer)[start + 1 : end])
            position = end
        del buffer[:position]
    if buffer:
        raise ValueError("truncated state")


def _unlinked(event: Event, newest: dict[bytes, KeyValue], log_start: int) -> _Change:
    kv, previous = event.kv, event.previous
    stored = kv.key if newest.get(kv.key) is kv else kv
    if previous is not None and previous.mod_revision >= log_start:
        return _Change(stored, _IN_LOG)
    return _Change(stored, previous)


def _tagged(sequence: int, outcome: Outcome) -> tuple[int, int, bytes]:
    if isinstance(outcome, StoreError):
        return sequence, 0, encode_error(outcome)
    tag = 1 if isinstance(outcome, TransactionResult) else 2 if isinstance(outcome, LeaseStatus) else 3
    return sequence, tag, encode_outcome(outcome)


def _outcome(tag: int, body: bytes) -> Outcome:
    return decode_error(body) if tag == 0 else decode_outcome(_SAMPLE_ACTIONS[tag], body)
