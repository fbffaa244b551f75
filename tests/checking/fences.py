"""Fences: what was to be written in one term of a lease only is in the log only within that term."""

from __future__ import annotations

from collections.abc import Iterator

from checking.history import Call, History
from checking.model import Past
from checking.report import Violation

from oarlock.consensus.model import EventKind, Put


def judge_fences(history: History, past: Past) -> Iterator[Violation]:
    """Yield each fenced write that was carried out outside of its term, whatever its caller was told."""
    fenced = [call for call in history.calls if call.fence is not None]
    if not fenced:
        return
    made = {
        (event.kv.key, event.kv.value): revision
        for revision, events in history.log.items()
        for event in events
        if event.kind is EventKind.PUT
    }
    for call in fenced:
        revision = _revision(call, made)
        assert call.fence is not None
        lease, epoch = call.fence
        held = past.get(lease, revision - 1) if revision else None
        if revision and (held is None or held.create_revision != epoch):
            now = "nobody held it" if held is None else f"it was held in epoch {held.create_revision}"
            what = f"written in epoch {epoch} of {lease.decode()}, but {now}"
            yield Violation("fence", what, call, revision=revision)


def _revision(call: Call, made: dict[tuple[bytes, bytes], int]) -> int:
    """Return the revision that the call has made, 0 for none; no two calls write one value."""
    puts = [one for one in call.request.success if isinstance(one, Put)]
    return next((made[put.key, put.value] for put in puts if (put.key, put.value) in made), 0)
