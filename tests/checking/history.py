"""What clients asked a store, what they were told and when: the records that the checker judges.

Times are seconds on one true clock. `save` and `load` keep a history as JSON lines, so that one that fails can be
looked at and judged again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from oarlock.consensus import commands, model
from oarlock.consensus.index import holds
from oarlock.consensus.model import (
    Compacted,
    Event,
    Range,
    StoreError,
    Unavailable,
    UnknownOutcome,
    WatchBatch,
)

EventLog = dict[int, tuple[Event, ...]]
"""Revision → its events, from 2 on without gaps."""


class Read(NamedTuple):
    """A request of kind "range"."""

    range: Range
    serializable: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """A request and its outcome, a StoreError if there was no answer.

    | kind | request | outcome |
    |---|---|---|
    | transact | Transaction | TransactionResult |
    | range | Read, or a tuple like it | RangeResult |
    | revision | None | int |
    | grant | Grant | LeaseStatus |
    | keep_alive, lease_status | lease | LeaseStatus |
    | revoke | Revoke | None |
    | compact | Compact | None |

    Without `returned`, or with UnknownOutcome, it may have happened at any time after `invoked`, or never.
    `replica` names the running process that answered a serializable read, where that is known. `fence` is the key of a
    lease and its epoch, outside of which the transaction must not be carried out.
    """

    client: int
    kind: str
    request: Any
    invoked: float
    returned: float | None = None
    outcome: Any = None
    replica: str = ""
    fence: tuple[bytes, int] | None = None

    @property
    def unknown(self) -> bool:
        return self.returned is None or isinstance(self.outcome, UnknownOutcome)

    @property
    def answered(self) -> bool:
        """True if the store gave an answer, not an error."""
        return self.returned is not None and not isinstance(self.outcome, StoreError)

    @property
    def refused(self) -> bool:
        """True if it was certainly not carried out."""
        return isinstance(self.outcome, StoreError) and not isinstance(self.outcome, UnknownOutcome)


@dataclass(slots=True, eq=False)
class WatchRecord:
    """A watch and the batches that it gave, each with its time. `ended` is why it gave no more."""

    client: int
    key: bytes
    range_end: bytes
    start: int
    previous: bool
    batches: list[tuple[float, WatchBatch]] = field(default_factory=list)
    ended: StoreError | None = None
    closed: bool = False

    def covers(self, key: bytes) -> bool:
        return holds(self.key, self.range_end, key)


@dataclass(slots=True)
class History:
    """All that is known of one run.

    `disturbed` are the times at which leadership may have changed or stood still. `compacts_itself` is set where the
    store may have compacted without being asked to.
    """

    calls: Sequence[Call] = ()
    watches: Sequence[WatchRecord] = ()
    log: EventLog = field(default_factory=dict)
    disturbed: Sequence[tuple[float, float]] = ()
    compacts_itself: bool = False

    @property
    def last(self) -> int:
        """The newest revision."""
        return max(self.log, default=1)


class Broken(Exception):
    """The events that were collected are no history."""


def fold(batches: Iterable[WatchBatch]) -> EventLog:
    """Return the events of overlapping watches over all keys. Raises Broken if two tell a revision differently."""
    log: dict[int, tuple[Event, ...]] = {}
    for batch in batches:
        found: dict[int, list[Event]] = {}
        for event in batch.events:
            found.setdefault(event.kv.mod_revision, []).append(event)
        for revision, events in found.items():
            if log.setdefault(revision, tuple(events)) != tuple(events):
                raise Broken(f"revision {revision} was told as {log[revision]} and as {tuple(events)}")
    return dict(sorted(log.items()))


# JSON lines

_VALUES = {
    kind.__name__: kind
    for kind in (
        model.Transaction,
        model.TransactionResult,
        model.RangeResult,
        model.LeaseStatus,
        commands.Grant,
        commands.Revoke,
        commands.Compact,
        Read,
    )
}
_ERRORS = {
    kind.__name__: kind
    for kind in (
        model.FutureRevision,
        model.LeaseNotFound,
        model.LeaseExists,
        model.InvalidRequest,
        model.Unavailable,
        model.UnknownOutcome,
    )
}


def save(history: History, path: Path) -> None:
    """Write the history to a file, one record a line."""
    with path.open("w") as file:
        for lines in _lines(history):
            file.write(json.dumps(lines) + "\n")


def _lines(history: History) -> Iterable[list[Any]]:
    yield ["disturbed", [list(span) for span in history.disturbed]]
    for revision, events in history.log.items():
        yield ["events", revision, msgspec.to_builtins(events)]
    for call in history.calls:
        request = Read(*call.request) if call.kind == "range" else call.request
        told = [_pack(request), call.invoked, call.returned, _pack(call.outcome), call.replica]
        fence = call.fence and [call.fence[0].decode(), call.fence[1]]
        yield ["call", call.client, call.kind, *told, fence]
    for one in history.watches:
        asked = [one.client, msgspec.to_builtins(one.key), msgspec.to_builtins(one.range_end), one.start, one.previous]
        yield ["watch", *asked, msgspec.to_builtins(one.batches), _pack(one.ended), one.closed]


def load(path: Path) -> History:
    """Read a history that `save` has written."""
    calls: list[Call] = []
    watches: list[WatchRecord] = []
    history = History(calls, watches)
    with path.open() as file:
        for line in file:
            kind, *rest = json.loads(line)
            if kind == "disturbed":
                history.disturbed = [(began, ended) for began, ended in rest[0]]
            elif kind == "events":
                history.log[rest[0]] = msgspec.convert(rest[1], tuple[Event, ...])
            elif kind == "call":
                client, name, request, invoked, returned, outcome, replica, fence = rest
                told = Call(client, name, _unpack(request), invoked, returned, _unpack(outcome), replica)
                told.fence = (fence[0].encode(), fence[1]) if fence else None
                calls.append(told)
            else:
                watches.append(_watch(*rest))
    return history


def _watch(
    client: int, key: str, range_end: str, start: int, previous: bool, batches: Any, ended: Any, closed: bool
) -> WatchRecord:
    seen = msgspec.convert(batches, list[tuple[float, WatchBatch]])
    names = msgspec.convert([key, range_end], tuple[bytes, bytes])
    return WatchRecord(client, *names, start, previous, seen, _unpack(ended), closed)


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    name = type(value).__name__
    if isinstance(value, Compacted):
        return [name, value.compact_revision]
    if isinstance(value, StoreError):
        return [name if name in _ERRORS else _family(value), str(value)]
    assert name in _VALUES, name
    return [name, msgspec.to_builtins(value)]


def _family(error: StoreError) -> str:
    """Return the name of the error's kind in the contract."""
    return next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), Unavailable.__name__)


def _unpack(packed: Any) -> Any:
    if not isinstance(packed, list):
        return packed
    name, value = packed
    if name == Compacted.__name__:
        return Compacted(value)
    return _ERRORS[name](value) if name in _ERRORS else msgspec.convert(value, _VALUES[name])
