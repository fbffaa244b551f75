"""What is wrong with a history, told so that one can follow it: the call, its answer, the right one, neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from checking.history import Call, History, WatchRecord

from oarlock.consensus.model import Range, Transaction

NEIGHBOURS = 4
SHOWN_MAX = 600
"""Characters of one value."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken. `expected` is the right answer where there is one."""

    rule: str
    what: str
    subject: Call | WatchRecord | None = None
    expected: Any = None
    revision: int = 0


def describe(history: History, violations: Iterable[Violation]) -> str:
    """Return a text for all violations, each with the calls next to it in time."""
    return "\n\n".join(_describe(history, violation) for violation in violations)


def _describe(history: History, violation: Violation) -> str:
    lines = [f"{violation.rule}: {violation.what}"]
    subject = violation.subject
    if isinstance(subject, Call):
        lines.append(f"  call      {_call(subject)}")
        lines.append(f"  answered  {_short(subject.outcome)}")
    elif subject is not None:
        lines.append(f"  watch     client {subject.client} {subject.key!r}..{subject.range_end!r} from {subject.start}")
    if violation.expected is not None:
        lines.append(f"  should be {_short(violation.expected)}")
    if violation.revision:
        near = range(violation.revision - 1, violation.revision + 2)
        lines += [f"  log       {one}: {_short(history.log[one])}" for one in near if one in history.log]
    if isinstance(subject, Call):
        lines += [
            f"  near      {_call(one)} -> {_short(one.outcome, 160)}" for one in neighbours(history.calls, subject)
        ]
    return "\n".join(lines)


def neighbours(calls: Iterable[Call], subject: Call) -> list[Call]:
    """Return the few calls nearest in time that touch the same keys, in order."""
    keys = _keys(subject)
    related = [one for one in calls if one is not subject and (not keys or keys & _keys(one))]
    related.sort(key=lambda one: abs(one.invoked - subject.invoked))
    return sorted(related[:NEIGHBOURS], key=lambda one: one.invoked)


def _keys(call: Call) -> set[bytes]:
    request = call.request
    if isinstance(request, Transaction):
        return {one.key for one in (*request.compares, *request.success, *request.failure)}
    if call.kind == "range":
        asked: Range = request[0]
        return {asked.key}
    return set()


def _call(call: Call) -> str:
    ended = "?" if call.returned is None else f"{call.returned:.6f}"
    where = f" at {call.replica}" if call.replica else ""
    return f"[{call.invoked:.6f}, {ended}] client {call.client}{where} {call.kind} {_short(call.request)}"


def _short(value: Any, limit: int = SHOWN_MAX) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
