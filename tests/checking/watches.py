"""Watches: every event of the range once, in order, none left out, with the right previous values."""

from __future__ import annotations

from collections.abc import Iterator

from checking.history import History, WatchRecord
from checking.model import Versions, tombstone, within
from checking.report import Violation

from oarlock.consensus.model import Compacted, Event, WatchBatch


def judge_watches(history: History) -> Iterator[Violation]:
    """Yield what is wrong with what watches told."""
    past = Versions(history.log)
    for record in history.watches:
        yield from _judge(history, past, record)
        yield from _judge_end(history, record)


def _judge(history: History, past: Versions, record: WatchRecord) -> Iterator[Violation]:
    shown = max(record.start - 1, 0)
    at_s, told, last = 0.0, 0, history.last
    for now_s, batch in record.batches:
        if not shown:
            # "From now on": the first batch tells from where.
            shown = batch.events[0].kv.mod_revision - 1 if batch.events else batch.revision
        if batch.revision < told or now_s < at_s:
            yield Violation("watch", f"went back from {told} to {batch.revision}", record, revision=told)
            return
        if batch.revision > last:
            yield Violation("watch", f"told of revision {batch.revision}, the log ends before", record)
            return
        # A watch from a future revision is told the store's, and nothing else before its start.
        right = expected(history, past, record, shown, batch.revision)
        if batch.events != right:
            yield Violation("watch", _difference(batch, right), record, right, _first_difference(batch, right))
            return
        told, at_s = batch.revision, now_s
        shown = max(shown, told)


def expected(history: History, past: Versions, record: WatchRecord, after: int, until: int) -> tuple[Event, ...]:
    """Return what the watch must tell of the revisions behind `after`, up to `until`."""
    found = []
    for revision in range(max(after + 1, 2), until + 1):
        for event in history.log.get(revision, ()):
            key = event.kv.key
            if within(record.key, record.range_end, key):
                before = past.get(key, revision - 1) if record.previous else None
                found.append(Event(event.kind, past.get(key, revision) or tombstone(key, revision), before))
    return tuple(found)


def _difference(batch: WatchBatch, right: tuple[Event, ...]) -> str:
    told = [event.kv.mod_revision for event in batch.events]
    return f"the batch up to {batch.revision} has events of {told}, not of {[event.kv.mod_revision for event in right]}"


def _first_difference(batch: WatchBatch, right: tuple[Event, ...]) -> int:
    """Return the first revision at which the two part."""
    for told, due in zip(batch.events, right, strict=False):
        if told != due:
            return due.kv.mod_revision
    shorter = min(len(batch.events), len(right))
    rest = (*batch.events[shorter:], *right[shorter:])
    return rest[0].kv.mod_revision if rest else 0


def _judge_end(history: History, record: WatchRecord) -> Iterator[Violation]:
    """A watch ends as Compacted only if what it had yet to tell may have been compacted."""
    if not isinstance(record.ended, Compacted) or history.compacts_itself:
        return
    told = record.ended.compact_revision
    asked = [one for one in history.calls if one.kind == "compact" and (one.answered or one.unknown)]
    shown = _shown(record)
    if all(one.request.revision != told for one in asked):
        yield Violation("watch", f"ended as compacted to {told}, which nobody asked for", record)
    elif told <= shown + 1:
        yield Violation("watch", f"ended as compacted to {told}, but had told all up to {shown}", record)


def owes(history: History, record: WatchRecord) -> bool:
    """Tell whether an open watch has yet to tell of an event that has happened."""
    if record.ended is not None or record.closed:
        return False
    shown = _shown(record)
    if shown < 0:
        return True
    return any(
        within(record.key, record.range_end, event.kv.key)
        for revision in range(max(shown + 1, 2), history.last + 1)
        for event in history.log.get(revision, ())
    )


def _shown(record: WatchRecord) -> int:
    """Return the revision up to which a watch has told all there was to tell, -1 if it hasn't said where it begins."""
    return max([record.start - 1, *(batch.revision for _, batch in record.batches)])
