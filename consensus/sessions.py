"""The outcomes that make a client's retry safe: a repeated request id gets the first outcome."""

from __future__ import annotations

from oarlock.consensus.commands import Command, Outcome
from oarlock.consensus.model import UnknownOutcome

CLIENTS_MAX = 4096
OUTCOMES_MAX = 1024
"""Of one client; its client library keeps fewer requests than that in flight."""


class Session:
    """One client's outcomes that it has not acknowledged, by sequence number."""

    __slots__ = ("acknowledged", "outcomes")

    def __init__(self, acknowledged: int = 0, outcomes: dict[int, Outcome] | None = None) -> None:
        self.acknowledged = acknowledged
        self.outcomes: dict[int, Outcome] = outcomes or {}


class Sessions:
    """The sessions of the `CLIENTS_MAX` clients that wrote last. A client retries for seconds only, so a session
    is long done with when that many others have pushed it out."""

    def __init__(self) -> None:
        self.clients: dict[int, Session] = {}

    def recall(self, command: Command) -> Outcome | None:
        """Return the outcome of a command that ran before, None for a new one."""
        session = self.clients.get(command.client)
        if session is None:
            return None
        if command.sequence < session.acknowledged:
            return UnknownOutcome("a late copy of a request whose answer the client had already")
        return session.outcomes.get(command.sequence)

    def remember(self, command: Command, outcome: Outcome) -> None:
        """Keep a new command's outcome and drop those that the client says it has."""
        session = self.clients.pop(command.client, None) or Session()
        # Re-inserting keeps the dictionary in order of last use.
        self.clients[command.client] = session
        if command.acknowledged > session.acknowledged:
            session.acknowledged = command.acknowledged
            for sequence in [known for known in session.outcomes if known < command.acknowledged]:
                del session.outcomes[sequence]
        session.outcomes[command.sequence] = outcome
        if len(session.outcomes) > OUTCOMES_MAX:
            oldest = next(iter(session.outcomes))
            del session.outcomes[oldest]
            # A repeat of it would run twice, so it is refused from now on.
            session.acknowledged = max(session.acknowledged, oldest + 1)
        if len(self.clients) > CLIENTS_MAX:
            del self.clients[next(iter(self.clients))]
