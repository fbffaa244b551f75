"""Compaction: what was compacted can't be read any more, and everything else can."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from checking.history import Call, History
from checking.linearizability import ranges
from checking.report import Violation

from oarlock.consensus.model import Compacted


def judge_compactions(history: History) -> Iterator[Violation]:
    """Compacted is told only of what may have been compacted; what certainly was can't be read."""
    calls = [call for call in history.calls if call.kind == "compact"]
    possible = [(call.request.revision, call.invoked) for call in calls if call.answered or call.unknown]
    certain = sorted((call.returned or inf, call.request.revision) for call in calls if call.answered)
    done: list[tuple[float, int]] = []
    for at_s, revision in certain:
        done.append((at_s, max(revision, done[-1][1] if done else 0)))
    for call in history.calls:
        if isinstance(call.outcome, Compacted) and not history.compacts_itself:
            told = call.outcome.compact_revision
            if told and not any(to == told and began <= (call.returned or inf) for to, began in possible):
                yield Violation("compaction", f"nobody compacted to {told} before", call)
        if isinstance(call.outcome, Compacted) and not _concerns(call, call.outcome.compact_revision):
            yield Violation("compaction", "what was asked for can still be read", call)
        yield from _judge_gone(call, done)


def _concerns(call: Call, compact_revision: int) -> bool:
    if call.kind == "range":
        return bool(0 < call.request[0].revision < compact_revision)
    if call.kind == "compact":
        return bool(call.request.revision <= compact_revision)
    return any(0 < one.revision < compact_revision for one in ranges(call.request))


def _judge_gone(call: Call, done: list[tuple[float, int]]) -> Iterator[Violation]:
    if not call.answered or not (call.kind == "compact" or (call.kind == "range" and not call.request[1])):
        return
    asked = call.request.revision if call.kind == "compact" else call.request[0].revision
    gone = max((revision for at_s, revision in done if at_s < call.invoked), default=0)
    if asked and (asked < gone or (asked == gone and call.kind == "compact")):
        yield Violation("compaction", f"everything before {gone} was compacted before this began", call)
