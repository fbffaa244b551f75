"""The machine's whole state as bytes and back, without stopping the machine.

What is taken is the state at the call: records are immutable, so copying the references (a few ms for a million keys)
freezes it, and the chunks are encoded as they are drawn. The stream is a sequence of sections, each a length and the
msgpack of (section, rows), cut into chunks of `CHUNK_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from oarlock.consensus.commands import Action, Grant, Outcome, Revoke
from oarlock.consensus.encoding import decode_error, decode_outcome, encode, encode_error, encode_outcome
from oarlock.consensus.history import History
from oarlock.consensus.machine import Lease, Machine
from oarlock.consensus.model import Event, EventKind, KeyValue, LeaseStatus, StoreError, Transaction, TransactionResult
from oarlock.consensus.sessions import Session

FORMAT = 1
CHUNK_BYTES = 256 << 10
ROWS_MAX = 500
"""Rows of one section: encoding them takes about a millisecond."""

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


class _LeaseRow(NamedTuple):
    lease: int
    ttl_ms: int
    keys: list[bytes]


class _SessionRow(NamedTuple):
    client: int
    acknowledged: int
    outcomes: list[tuple[int, int, bytes]]


_DECODERS: dict[int, Any] = {
    _HEADER: msgspec.msgpack.Decoder(list[_Header]),
    _LIVE: msgspec.msgpack.Decoder(list[KeyValue]),
    _LOG: msgspec.msgpack.Decoder(list[list[_Change]]),
    _LEASES: msgspec.msgpack.Decoder(list[_LeaseRow]),
    _SESSIONS: msgspec.msgpack.Decoder(list[_SessionRow]),
}
_SAMPLE_ACTIONS: dict[int, Action] = {1: Transaction(), 2: Grant(0, 0), 3: Revoke(0)}


def take(machine: Machine) -> Iterator[bytes]:
    """Return the machine's state as of this call in chunks that are encoded as they are drawn."""
    history = machine.history
    records, log_start, log = history.capture()
    header = _Header(FORMAT, machine.revision, history.compact_revision, log_start, machine.last_lease)
    leases = [_LeaseRow(lease, held.ttl_ms, list(held.keys)) for lease, held in machine.leases.items()]
    sessions = [
        (client, session.acknowledged, list(session.outcomes.items()))
        for client, session in machine.sessions.clients.items()
    ]
    return _chunked(_sections(header, records, log, leases, sessions))


def load(chunks: Iterable[bytes]) -> Machine:
    """Return the machine that was taken. Raises ValueError for bytes that are no such state."""
    rows: dict[int, list[Any]] = {section: [] for section in _DECODERS}
    for section, body in _bodies(chunks):
        try:
            rows[section] += _DECODERS[section].decode(body)
        except (msgspec.MsgspecError, LookupError) as malformed:
            raise ValueError(f"malformed state: {malformed}") from None
    if len(rows[_HEADER]) != 1 or rows[_HEADER][0].format != FORMAT:
        raise ValueError(f"state of another format than {FORMAT}")
    header: _Header = rows[_HEADER][0]
    machine = Machine()
    machine.revision = header.revision
    live = {kv.key: kv for kv in rows[_LIVE]}
    log = _relinked(rows[_LOG], live)
    machine.history = History.restored(live.values(), log, header.log_start, header.compact_revision)
    machine.restore_leases({row.lease: Lease(row.ttl_ms, row.keys) for row in rows[_LEASES]}, header.last_lease)
    for row in rows[_SESSIONS]:
        outcomes = {sequence: _outcome(tag, body) for sequence, tag, body in row.outcomes}
        machine.sessions.clients[row.client] = Session(row.acknowledged, outcomes)
    return machine


def _sections(
    header: _Header,
    records: list[KeyValue],
    log: list[tuple[Event, ...]],
    leases: list[_LeaseRow],
    sessions: list[tuple[int, int, list[tuple[int, Outcome]]]],
) -> Iterator[bytes]:
    yield _section(_HEADER, [header])
    newest = {}
    for part in _parts(records):
        newest.update({kv.key: kv.mod_revision for kv in part if kv.mod_revision >= header.log_start})
        yield _section(_LIVE, part)
    for logged in _parts(log):
        yield _section(_LOG, [[_unlinked(event, newest, header.log_start) for event in events] for events in logged])
    for held in _parts(leases):
        yield _section(_LEASES, held)
    for known in _parts(sessions):
        yield _section(_SESSIONS, [(client, past, [_tagged(*one) for one in done]) for client, past, done in known])


def _parts(rows: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(rows), ROWS_MAX):
        yield rows[at : at + ROWS_MAX]


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


def _unlinked(event: Event, newest: dict[bytes, int], log_start: int) -> _Change:
    kv, previous = event.kv, event.previous
    stored = kv.key if newest.get(kv.key) == kv.mod_revision else kv
    if previous is not None and previous.mod_revision >= log_start:
        return _Change(stored, _IN_LOG)
    return _Change(stored, previous)


def _relinked(rows: list[list[_Change]], live: dict[bytes, KeyValue]) -> list[tuple[Event, ...]]:
    """Return the log with every version one object again, however often the log, the past and the present show it."""
    last: dict[bytes, KeyValue] = {}
    log = []
    for row in rows:
        events = []
        for stored, previous in row:
            kv = live[stored] if isinstance(stored, bytes) else stored
            before = last[kv.key] if previous == _IN_LOG else previous
            assert not isinstance(before, int)
            last[kv.key] = kv
            events.append(Event(EventKind.PUT if kv.version else EventKind.DELETE, kv, before))
        log.append(tuple(events))
    return log


def _tagged(sequence: int, outcome: Outcome) -> tuple[int, int, bytes]:
    if isinstance(outcome, StoreError):
        return sequence, 0, encode_error(outcome)
    tag = 1 if isinstance(outcome, TransactionResult) else 2 if isinstance(outcome, LeaseStatus) else 3
    return sequence, tag, encode_outcome(outcome)


def _outcome(tag: int, body: bytes) -> Outcome:
    return decode_error(body) if tag == 0 else decode_outcome(_SAMPLE_ACTIONS[tag], body)
