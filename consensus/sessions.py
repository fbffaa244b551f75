"""The outcomes that make a client's retry safe: a repeated request id gets the first outcome.

Bounded in number and in bytes, alike on every replica. Whatever has to be forgotten is refused from then on with
*unknown outcome*; it never runs twice.
"""

from __future__ import annotations

from oarlock.consensus.commands import Command, Outcome
from oarlock.consensus.model import (
    KeyValue,
    PutResult,
    RangeResult,
    TransactionResult,
    UnknownOutcome,
)

CLIENTS_MAX = 16_384
"""A client retries for seconds only: its session is long done with when that many others have pushed it out."""
OUTCOMES_MAX = 1024
"""Of one client; its client library keeps fewer requests than that in flight."""
OUTCOME_BYTES_MAX = 1 << 20
"""An outcome larger than that is not kept: asked for again, it is unknown."""
SESSION_BYTES_MAX = 4 << 20
"""Of one client's outcomes."""
BYTES_MAX = 32 << 20
"""Of all clients' outcomes."""

OUTCOME_BYTES = 320
_RECORD_BYTES = 24
"""What is counted for an outcome and for a record in it, beyond keys and values. An earlier version of a key that an
outcome shows would be in the history anyway, but not for as long."""


class Session:
    """One client's outcomes that it has not acknowledged, by sequence number. `size` is their bytes."""

    __slots__ = ("_large", "acknowledged", "outcomes", "size")

    def __init__(self, acknowledged: int = 0) -> None:
        self.acknowledged = acknowledged
        self.outcomes: dict[int, Outcome] = {}
        self.size = 0
        self._large: dict[int, int] = {}

    def add(self, sequence: int, outcome: Outcome, size: int) -> None:
        """Keep one more outcome."""
        self.outcomes[sequence] = outcome
        self.size += size
        if size > OUTCOME_BYTES:
            self._large[sequence] = size

    def forget_below(self, acknowledged: int) -> None:
        """Drop what the client says it has."""
        self.acknowledged = acknowledged
        for sequence in [known for known in self.outcomes if known < acknowledged]:
            self._drop(sequence)

    def forget_oldest(self) -> None:
        """Drop the outcome with the lowest number, and refuse repeats of it and of all before."""
        oldest = min(self.outcomes)
        self._drop(oldest)
        self.acknowledged = max(self.acknowledged, oldest + 1)

    def _drop(self, sequence: int) -> None:
        del self.outcomes[sequence]
        self.size -= self._large.pop(sequence, OUTCOME_BYTES)


class Sessions:
    """The sessions of the `CLIENTS_MAX` clients that wrote last, in that order. `size` is their outcomes' bytes."""

    def __init__(self) -> None:
        self.clients: dict[int, Session] = {}
        self.size = 0

    def recall(self, command: Command) -> Outcome | None:
        """Return the outcome of a command that ran before, None for a new one."""
        session = self.clients.get(command.client)
        if session is None:
            return None
        if command.sequence < session.acknowledged:
            return UnknownOutcome("a late copy of a request whose answer the client had already, or was too late for")
        return session.outcomes.get(command.sequence)

    def remember(self, command: Command, outcome: Outcome) -> None:
        """Keep a new command's outcome and drop those that the client says it has."""
        session = self.clients.pop(command.client, None) or Session()
        # Re-inserting keeps the dictionary in order of last use.
        self.clients[command.client] = session
        before = session.size
        if command.acknowledged > session.acknowledged:
            session.forget_below(command.acknowledged)
        size = outcome_bytes(outcome)
        if size > OUTCOME_BYTES_MAX:
            outcome, size = UnknownOutcome("carried out, but its answer is too large to be given twice"), OUTCOME_BYTES
        session.add(command.sequence, outcome, size)
        while len(session.outcomes) > OUTCOMES_MAX or session.size > SESSION_BYTES_MAX:
            session.forget_oldest()
        self.size += session.size - before
        if len(self.clients) > CLIENTS_MAX:
            self.size -= self.clients.pop(next(iter(self.clients))).size
        if self.size > BYTES_MAX:
            self._shrink()

    def restore(self, client: int, acknowledged: int) -> Session:
        """Return the session of a snapshot's client, to be given its outcomes through `restore_outcome`."""
        session = self.clients.get(client)
        if session is None:
            session = self.clients[client] = Session(acknowledged)
        return session

    def restore_outcome(self, session: Session, sequence: int, outcome: Outcome) -> None:
        """Take over an outcome of a snapshot."""
        size = outcome_bytes(outcome)
        session.add(sequence, outcome, size)
        self.size += size

    def _shrink(self) -> None:
        """Forget outcomes, of those clients first that wrote longest ago."""
        for session in self.clients.values():
            while session.outcomes and self.size > BYTES_MAX:
                before = session.size
                session.forget_oldest()
                self.size += session.size - before
            if self.size <= BYTES_MAX:
                return


def outcome_bytes(outcome: Outcome) -> int:
    """Return about how much memory an outcome holds: at least its keys and values."""
    size = OUTCOME_BYTES
    if isinstance(outcome, TransactionResult):
        for response in outcome.responses:
            if isinstance(response, PutResult):
                if response.previous is not None:
                    size += _record_bytes(response.previous)
            else:
                shown = response.kvs if isinstance(response, RangeResult) else response.previous
                size += OUTCOME_BYTES + sum(map(_record_bytes, shown))
    return size


def _record_bytes(kv: KeyValue) -> int:
    return _RECORD_BYTES + len(kv.key) + len(kv.value)
