"""What callers wait for: proposals on their way through the log, and reads waiting for a confirmation round."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from oarlock.consensus.log import ENTRY_BYTES_MAX, NotLeader, Overloaded
from oarlock.consensus.model import InvalidRequest, UnknownOutcome

BATCH = b"\x10"
"""First byte of a log entry that holds a batch of proposals: a MessagePack array of byte strings."""
BATCH_BYTES_MAX = 1 << 20
QUEUE_BYTES_MAX = 32 << 20
QUEUE_LENGTH_MAX = 65_536

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])

Waiting = asyncio.Future[Any]


def encode_batch(entries: list[bytes]) -> bytes:
    return BATCH + _encoder.encode(entries)


def decode_batch(data: bytes) -> list[bytes]:
    """Return the proposals in a log entry; none for an entry without effect."""
    return _decoder.decode(memoryview(data)[1:]) if data[:1] == BATCH else []


class Proposals:
    """Proposals in order: first queued, then waiting in the log for their index to be applied."""

    def __init__(self) -> None:
        self.queued_bytes = 0
        self.logged_bytes = 0
        """Bytes of batches that are logged here and not applied yet."""
        self._queue: deque[tuple[Waiting, bytes]] = deque()
        self._logged: dict[int, tuple[list[Waiting], int]] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, future: Waiting, entry: bytes) -> None:
        """Queue a proposal, or fail its future at once."""
        if len(entry) > ENTRY_BYTES_MAX:
            future.set_exception(
                InvalidRequest(f"an entry of {len(entry)} bytes, at most {ENTRY_BYTES_MAX} are allowed")
            )
        elif self.queued_bytes + len(entry) > QUEUE_BYTES_MAX or len(self._queue) >= QUEUE_LENGTH_MAX:
            future.set_exception(Overloaded("too many proposals are waiting"))
        else:
            self._queue.append((future, entry))
            self.queued_bytes += len(entry)

    def take_batch(self, index: int) -> bytes:
        """Return queued proposals as one log entry for `index`; whoever has stopped waiting is left out."""
        futures: list[Waiting] = []
        entries: list[bytes] = []
        size = 0
        while self._queue and size < BATCH_BYTES_MAX:
            future, entry = self._queue.popleft()
            self.queued_bytes -= len(entry)
            if not future.done():
                futures.append(future)
                entries.append(entry)
                size += len(entry)
        self._logged[index] = (futures, size)
        self.logged_bytes += size
        return encode_batch(entries)

    def resolve(self, index: int, outcomes: list[object]) -> None:
        """Hand the outcomes of the entry at `index` to those who wait for it."""
        futures, size = self._logged.pop(index, ([], 0))
        self.logged_bytes -= size
        for future, outcome in zip(futures, outcomes, strict=False):
            if not future.done():
                future.set_result(outcome)

    def fail(self, leader: str) -> None:
        """Leadership is lost: what is queued was not done, what is logged may yet be."""
        queue, self._queue = self._queue, deque()
        logged, self._logged = self._logged, {}
        self.queued_bytes = self.logged_bytes = 0
        for future, _ in queue:
            if not future.done():
                future.set_exception(NotLeader(leader))
        for futures, _ in logged.values():
            for future in futures:
                if not future.done():
                    future.set_exception(UnknownOutcome("leadership was lost before the outcome was known"))


class Reads:
    """Reads that wait for a confirmation round, then for the state to reach the round's commit index."""

    def __init__(self) -> None:
        self.round = 0
        """The last round begun."""
        self._new: list[Waiting] = []
        self._rounds: deque[tuple[int, int, list[Waiting]]] = deque()

    def add(self, future: Waiting) -> None:
        self._new.append(future)

    @property
    def want_round(self) -> bool:
        return bool(self._new)

    @property
    def waiting(self) -> bool:
        return bool(self._rounds)

    def begin_round(self, commit_index: int) -> None:
        """Begin a round for all reads that came since the last."""
        self.round += 1
        self._rounds.append((self.round, commit_index, self._new))
        self._new = []

    def resolve(self, confirmed_round: int, applied: int) -> None:
        """Answer the reads whose round a majority has confirmed and whose index is applied."""
        while self._rounds and self._rounds[0][0] <= confirmed_round and self._rounds[0][1] <= applied:
            for future in self._rounds.popleft()[2]:
                if not future.done():
                    future.set_result(applied)

    def fail(self, leader: str) -> None:
        futures = self._new + [future for _, _, some in self._rounds for future in some]
        self._new = []
        self._rounds.clear()
        for future in futures:
            if not future.done():
                future.set_exception(NotLeader(leader))
