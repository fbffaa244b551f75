"""What clients asked and what they saw, with true times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checking.history import Call, WatchRecord

from oarlock.consensus.model import StoreError, WatchBatch

if TYPE_CHECKING:
    from simulation.world import World


class Recorder:
    """The history of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.calls: list[Call] = []
        self.watches: list[WatchRecord] = []

    def invoked(self, client: int, kind: str, request: Any) -> Call:
        call = Call(client, kind, request, self._world.schedule.now)
        self.calls.append(call)
        return call

    def returned(self, call: Call, outcome: Any) -> None:
        call.returned, call.outcome = self._world.schedule.now, outcome
        self._world.trace("call", call.client, call.kind, repr(outcome))

    def watch_opened(self, client: int, key: bytes, range_end: bytes, start: int, *, previous: bool) -> WatchRecord:
        record = WatchRecord(client, key, range_end, start, previous)
        self.watches.append(record)
        return record

    def watched(self, record: WatchRecord, batch: WatchBatch) -> None:
        record.batches.append((self._world.schedule.now, batch))

    def watch_ended(self, record: WatchRecord, error: StoreError) -> None:
        record.ended = error

    def watch_closed(self, record: WatchRecord) -> None:
        record.closed = True

    def open_watches(self) -> list[WatchRecord]:
        """Return the watches that a living program still reads."""
        alive = {client.program.number for client in self._world.clients if client.program is not None}
        return [one for one in self.watches if one.ended is None and not one.closed and one.client in alive]
