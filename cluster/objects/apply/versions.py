"""Ownership where managers wrote in different versions of a kind, each of which has another form.

An entry of managedFields names fields of its own version, so what changed is compared in every version that is named.
Converting takes a webhook, perhaps; the functions here are generators that ask for it.
Source: structured-merge-diff's merge/update.go.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from oarlock.cluster.objects.apply import fieldsets, merging, shapes
from oarlock.cluster.objects.apply.comparing import Changes, compare
from oarlock.cluster.objects.apply.fieldsets import Path
from oarlock.cluster.objects.schemas import Schema

Obj = dict[str, Any]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Asked for: objects in the form of another version. Answered by Seen, or None where there is no such version."""

    objects: tuple[Obj, ...]
    api_version: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Objects as they are in a version, and that version's schema."""

    schema: Schema
    objects: Sequence[Obj]


_Outcome = TypeVar("_Outcome")
Steps = Generator[Wanted, Seen | None, _Outcome]


def only(steps: Steps[_Outcome]) -> _Outcome:
    """The outcome of steps that ask for nothing."""
    try:
        next(steps)
    except StopIteration as stop:
        outcome: _Outcome = stop.value
        return outcome
    raise AssertionError("another version was asked for")


def changes(
    entries: Sequence[Entry], old: Obj, new: Obj, own: str, *, apart: bool
) -> Steps[Mapping[str, Changes | None]]:
    """What changed in each other version than `own` that entries name; None for one that there isn't any more."""
    named = dict.fromkeys(entry.get("apiVersion", "") for entry in entries) if apart else {}
    found: dict[str, Changes | None] = {}
    for version in named:
        if version != own:
            seen = yield Wanted((old, new), version)
            found[version] = compare(seen.schema, *seen.objects) if seen is not None else None
    return found


def pruned(
    schema: Schema,
    merged: Obj,
    before: Entry,
    others: Sequence[Entry],
    asked: set[Path],
    own: str,
    unowned: frozenset[Path],
) -> Steps[Obj]:
    """`merged` without what its manager applied `before` and doesn't any more, unless it is owned in some version.

    What goes is found in the version that was applied before, what is owned in the version of whoever owns it.
    """
    last: set[Path] = fieldsets.members(before.get("fieldsV1") or {})
    first = before.get("apiVersion", "")
    managed: dict[str, set[Path]] = {own: set(asked)}
    for entry in others:
        managed.setdefault(entry.get("apiVersion", ""), set()).update(fieldsets.members(entry.get("fieldsV1") or {}))
    seen = Seen(schema, (merged,)) if first == own else (yield Wanted((merged,), first))
    if seen is None or not last:
        return merged
    known, (whole,) = seen.schema, seen.objects
    left = merging.without(known, whole, shapes.named(known, last) - unowned)
    here, at = known, first
    start = whole
    # In the version of what goes first, so that nothing is converted that lacks what its conversion needs.
    for version in (first, *sorted(managed.keys() - {first})):
        if version != at:
            moved = yield Wanted((whole, left), version)
            if moved is None:
                continue
            here, (whole, left), at = moved.schema, moved.objects, version
        gone = _paths(here, whole) - _paths(here, left) - shapes.named(here, managed.get(version, set()))
        left = merging.without(here, whole, gone - unowned)
    if at != first:
        moved = yield Wanted((left,), first)
        assert moved is not None
        (left,) = moved.objects
    gone = (_paths(known, start) - _paths(known, left)) & shapes.named(known, last)
    left = merging.without(known, start, gone - unowned)
    if first == own:
        return left
    moved = yield Wanted((left,), own)
    assert moved is not None
    return moved.objects[0]


def _paths(schema: Schema, obj: Obj) -> set[Path]:
    return shapes.named(schema, set(shapes.leaves(schema, obj)))
