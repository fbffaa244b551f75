"""Linearizability by search: is there any order of the calls that explains the answers? For small histories.

Takes nothing from the revisions in the answers: it tries every order that real time allows, and carries the calls out
one after another on a plain model. Source: Wing and Gong, "Testing and verifying concurrent objects" (1993), with
Lowe's memory of states that have been tried, "Testing for linearizability" (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from checking.history import Call, EventLog
from checking.linearizability import asked_future
from checking.model import States, carry_out, read

from oarlock.consensus.model import Event, FutureRevision


class Search:
    """Looks for one order. With `log` the calls must also have made exactly that log."""

    def __init__(self, calls: Sequence[Call], log: EventLog | None = None) -> None:
        relevant = [call for call in calls if call.kind in {"transact", "range", "revision"}]
        self._calls = [
            call
            for call in relevant
            if call.answered or (call.unknown and call.kind == "transact") or isinstance(call.outcome, FutureRevision)
        ]
        self._ended = [inf if call.unknown else call.returned or 0.0 for call in self._calls]
        self._required = sum(1 << place for place, call in enumerate(self._calls) if not call.unknown)
        self._log = log
        self._tried: set[tuple[int, States]] = set()

    def find(self) -> bool:
        """Return whether there is an order."""
        waiting: list[tuple[int, States]] = [(0, States())]
        while waiting:
            done, states = waiting.pop()
            if self._complete(done, states):
                return True
            if (done, states) not in self._tried:
                self._tried.add((done, states))
                waiting += self._next(done, states)
        return False

    def _complete(self, done: int, states: States) -> bool:
        whole = self._log is None or states.revision == max(self._log, default=1)
        return whole and done & self._required == self._required

    def _next(self, done: int, states: States) -> list[tuple[int, States]]:
        """Return what any call that may come next leads to: one that began before all that are left had ended."""
        left = [place for place in range(len(self._calls)) if not done >> place & 1]
        earliest = min((self._ended[place] for place in left), default=inf)
        found = []
        for place in left:
            if self._calls[place].invoked <= earliest:
                after = self._step(self._calls[place], states)
                if after is not None:
                    found.append((done | 1 << place, after))
        return found

    def _step(self, call: Call, states: States) -> States | None:
        """Carry the call out; return None if its answer wasn't this."""
        now = states.revision
        if isinstance(call.outcome, FutureRevision):
            return states if asked_future(call) > now or (call.kind == "range" and call.request[1]) else None
        if call.kind == "revision":
            return states if call.outcome == now else None
        if call.kind == "range":
            request, serializable = call.request
            at = min(call.outcome.revision, now) if serializable else now
            return states if request.revision <= at and read(states, request, at) == call.outcome else None
        result, events = carry_out(states, call.request, now)
        if (not call.unknown and result != call.outcome) or not self._logged(now + 1, events):
            return None
        return states.then(events)

    def _logged(self, revision: int, events: tuple[Event, ...]) -> bool:
        return not events or self._log is None or self._log.get(revision) == events
