"""Leases: their keys are there for a whole term after every renewal, and gone soon after the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from checking.history import Call, History
from checking.linearizability import Moments
from checking.report import Violation

from oarlock.consensus.model import (
    EventKind,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Put,
    RangeResult,
    Transaction,
)

ROUNDING_S = 0.002
LATE_S = 3.0
"""How long after its term, with a leader that serves, a lease's keys may still be seen on a busy machine."""


@dataclass(slots=True)
class Life:
    """What is known of one lease. `ended_s` is when its end was first seen."""

    lease: int
    grants: list[Call] = field(default_factory=list)
    renewals: list[Call] = field(default_factory=list)
    attempts: list[Call] = field(default_factory=list)
    """Keep-alives whose answer is unknown or that were refused: they may have renewed."""
    revokes: list[Call] = field(default_factory=list)
    """Those that were or may have been carried out."""
    ended_revision: int = 0

    @property
    def ttl_s(self) -> float:
        ttl_ms: int = self.grants[0].outcome.ttl_ms
        return ttl_ms / 1000

    def revoked_by(self, at_s: float) -> bool:
        """Tell whether somebody may have ended it by then."""
        return any(revoke.invoked <= at_s for revoke in self.revokes)

    def lasts_until(self, before_s: float) -> float:
        """Return until when it certainly lived, by grant and renewals that were answered before a time."""
        known = [call for call in (*self.grants, *self.renewals) if (call.returned or inf) <= before_s]
        return max((call.invoked + self.ttl_s for call in known), default=0.0) - ROUNDING_S


def lives(history: History, ends: Mapping[int, int]) -> dict[int, Life]:
    """Return all leases that somebody knows; an id that was granted twice is left out."""
    found: dict[int, Life] = {}
    for call in history.calls:
        if call.kind == "grant" and call.answered:
            found.setdefault(call.outcome.lease, Life(call.outcome.lease)).grants.append(call)
    for call in history.calls:
        lease = call.request.lease if call.kind == "revoke" else call.request
        if call.kind == "keep_alive" and lease in found:
            (found[lease].renewals if call.answered else found[lease].attempts).append(call)
        elif call.kind == "revoke" and lease in found and (call.answered or call.unknown):
            found[lease].revokes.append(call)
    for revision, lease in sorted(ends.items()):
        if lease in found and not found[lease].ended_revision:
            found[lease].ended_revision = revision
    return {lease: life for lease, life in found.items() if len(life.grants) == 1}


def judge_leases(history: History, moments: Moments, ends: Mapping[int, int]) -> Iterator[Violation]:
    """Yield what is wrong. `ends` says which revisions are the ends of which leases."""
    known = lives(history, ends)
    for life in known.values():
        yield from _judge_end(life, moments)
        yield from _judge_answers(life, moments)
    yield from _judge_not_found(history, known)
    yield from _judge_lateness(history, known)
    yield from _judge_attachments(history, known)
    yield from _judge_existing(history)


def _judge_end(life: Life, moments: Moments) -> Iterator[Violation]:
    """Its keys are there for a whole term after each renewal that was answered."""
    if not life.ended_revision:
        return
    seen_s = moments.seen(life.ended_revision)
    if life.revoked_by(seen_s):
        return
    for call in (*life.grants, *life.renewals):
        if seen_s < call.invoked + life.ttl_s - ROUNDING_S:
            what = f"lease {life.lease} of {life.ttl_s:g} s had ended at {seen_s:.6f}"
            yield Violation("lease early", what, call, revision=life.ended_revision)


def _judge_answers(life: Life, moments: Moments) -> Iterator[Violation]:
    """It can't be renewed once its end was seen, and its answers tell its own term."""
    over_s = min((call.returned or inf for call in life.revokes if call.answered), default=inf)
    if life.ended_revision:
        over_s = min(over_s, moments.seen(life.ended_revision))
    for call in life.renewals:
        if call.invoked > over_s:
            yield Violation("lease", f"lease {life.lease} was renewed, but had ended by {over_s:.6f}", call)
        status: LeaseStatus = call.outcome
        if status.lease != life.lease or status.ttl_ms != life.grants[0].outcome.ttl_ms:
            yield Violation("lease", f"not what lease {life.lease} was granted as", call, life.grants[0].outcome)


def _judge_not_found(history: History, known: Mapping[int, Life]) -> Iterator[Violation]:
    """LeaseNotFound is told only of a lease that may have ended."""
    for call in history.calls:
        if not isinstance(call.outcome, LeaseNotFound):
            continue
        asked = _leases(call)
        alive = [known[lease] for lease in asked if lease in known and _alive(known[lease], call)]
        if len(alive) == len(asked):
            until = ", ".join(f"{life.lease} until {life.lasts_until(call.invoked):.6f}" for life in alive)
            yield Violation("lease early", f"the lease was there: {until or 'none was named'}", call)


def _alive(life: Life, call: Call) -> bool:
    ended_s = call.returned or inf
    return not life.revoked_by(ended_s) and ended_s < life.lasts_until(call.invoked)


def _leases(call: Call) -> set[int]:
    """Return the leases that a call names."""
    if isinstance(call.request, Transaction):
        operations = (*call.request.success, *call.request.failure)
        return {one.lease for one in operations if isinstance(one, Put) and one.lease}
    return {call.request.lease if call.kind in {"revoke", "grant"} else call.request}


def _judge_lateness(history: History, known: Mapping[int, Life]) -> Iterator[Violation]:
    """Its keys are gone soon after its last renewal, once a leader serves."""
    deadlines = {lease: _deadline(history, life) for lease, life in known.items()}
    for call in history.calls:
        if not isinstance(call.outcome, RangeResult) or call.request[1] or call.request[0].revision:
            continue
        for kv in call.outcome.kvs:
            if kv.lease and call.invoked > deadlines.get(kv.lease, inf):
                what = f"{kv.key!r} should have gone with lease {kv.lease} by {deadlines[kv.lease]:.6f}"
                yield Violation("lease late", what, call)


def _deadline(history: History, life: Life) -> float:
    """Return when it is gone at the latest; every new leader gives it its whole term again."""
    # A revoked lease is gone sooner; that reads show so is the witness's to judge.
    last_s = max(call.returned or inf for call in (*life.grants, *life.renewals, *life.attempts))
    deadline_s = last_s + life.ttl_s + LATE_S
    for began_s, ended_s in sorted(history.disturbed):
        if began_s <= deadline_s:
            deadline_s = max(deadline_s, ended_s + life.ttl_s + LATE_S)
    return deadline_s


def _judge_attachments(history: History, known: Mapping[int, Life]) -> Iterator[Violation]:
    """Nothing is put under a lease that has ended, or that nobody can have granted."""
    asked = {call.request.lease for call in history.calls if call.kind == "grant"}
    somebody = _chosen(history.calls)
    for revision, events in history.log.items():
        for event in events:
            lease = event.kv.lease
            if event.kind is not EventKind.PUT or not lease:
                continue
            ended = known[lease].ended_revision if lease in known else 0
            if 0 < ended < revision:
                yield Violation("lease", f"put under lease {lease}, which ended at {ended}", revision=revision)
            if lease not in somebody and lease not in asked and 0 not in asked:
                yield Violation("lease", f"put under lease {lease}, which nobody granted", revision=revision)


def _chosen(calls: Iterable[Call]) -> set[int]:
    return {call.outcome.lease for call in calls if call.kind == "grant" and call.answered}


def _judge_existing(history: History) -> Iterator[Violation]:
    """LeaseExists is told only of a lease that somebody may have been granted."""
    chosen = _chosen(history.calls)
    for call in history.calls:
        if isinstance(call.outcome, LeaseExists):
            rivals = [one for one in history.calls if one is not call and one.kind == "grant" and not one.refused]
            if call.request.lease not in chosen and all(one.request.lease != call.request.lease for one in rivals):
                yield Violation("lease", "no such lease was ever granted", call)
