"""What changed between two states of an object, as paths. Source: structured-merge-diff's typed/compare.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from oarlock.cluster.objects.apply.fieldsets import SELF, Path, Trie, members
from oarlock.cluster.objects.apply.shapes import field_schema, is_atomic, items
from oarlock.cluster.objects.schemas import Schema


class _Absent:
    """The value of a field that is not there; null is one that is."""


ABSENT: Final = _Absent()
_HOLDERS: Final = (dict, list)
Unowned = Mapping[str, "Unowned | None"]
"""Elements that don't count, each with those below it that don't, None for all of them."""
_NOTHING: Final[Unowned] = {}


@dataclass(slots=True)
class Changes:
    """Places that are new, each with the trie of what is in it; paths with another value; paths that are gone."""

    added: list[tuple[Path, Trie]] = field(default_factory=list)
    modified: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)

    def written(self) -> Iterator[Path]:
        """Yield every path that is new or has another value."""
        yield from self.modified
        for place, inside in self.added:
            yield place
            for path in members(inside):
                yield place + path


def compare(schema: Schema | None, old: Any, new: Any) -> Changes:
    """Return what changed from `old` to `new`. Equal parts cost one comparison."""
    changes = Changes()
    _compare(schema, old, new, (), changes)
    return changes


def written(schema: Schema | None, old: Any, new: Any, unowned: Unowned = _NOTHING) -> Trie | None:
    """Return the trie of what is new or has another value in `new`, None for nothing. What is gone isn't looked for.

    Of places that differ only those are in it that count. The same as `Changes.written` in one go.
    """
    shape = old if new is None else new
    if _is_leaf(schema, old, new, shape):
        return {} if old != new or type(old) is not type(new) else None
    trie: Trie = {}
    if isinstance(shape, dict):
        known = _dict(old)
        for name, value in _dict(new).items():
            before = known.get(name, ABSENT)
            if before is ABSENT or before != value:
                _enter(trie, "f:" + name, field_schema(schema, name), before, value, unowned)
        return trie or None
    assert schema is not None
    earlier = items(schema, _list(old))
    for step, value in items(schema, _list(new)).items():
        before = earlier.get(step, ABSENT)
        if before is ABSENT or before != value:
            _enter(trie, step, schema.items, before, value, unowned)
    return trie or None


def _enter(trie: Trie, step: str, schema: Schema | None, before: Any, value: Any, unowned: Unowned) -> None:
    """Enter what differs at one step."""
    counts = step not in unowned
    if before is ABSENT:
        if counts:
            trie[step] = _grown(schema, value)
        return
    below = _NOTHING if counts else unowned[step]
    inside = written(schema, before, value, below) if below is not None else None
    if inside is not None and (counts or inside):
        trie[step] = inside


def _compare(schema: Schema | None, old: Any, new: Any, path: Path, changes: Changes) -> None:
    if old is ABSENT:
        changes.added.append((path, _grown(schema, new)))
        return
    shape = old if new is ABSENT or new is None else new
    if _is_leaf(schema, old, new, shape):
        if new is ABSENT:
            changes.removed.append(path)
        elif old != new or type(old) is not type(new):
            changes.modified.append(path)
        return
    if isinstance(shape, dict):
        _compare_maps(schema, _dict(old), _dict(new), path, changes)
    else:
        assert schema is not None
        _compare_lists(schema, _list(old), _list(new), path, changes)
    if new is ABSENT:
        changes.removed.append(path)


def _grown(schema: Schema | None, value: Any) -> Trie:
    """Return the trie of a value that is new as a whole: it, and everything in it."""
    if not value or is_atomic(schema, value):
        return {}
    trie: Trie = {SELF: {}}
    if isinstance(value, dict):
        for name, one in value.items():
            # Most fields are scalars, which have no inside whatever their schema.
            has_inside = one and isinstance(one, _HOLDERS)
            trie["f:" + name] = _grown(field_schema(schema, name), one) if has_inside else {}
    else:
        assert schema is not None
        for step, one in items(schema, value).items():
            trie[step] = _grown(schema.items, one)
    return trie


def _is_leaf(schema: Schema | None, old: Any, new: Any, shape: Any) -> bool:
    if is_atomic(schema, shape):
        return True
    if _is_empty(old) and _is_empty(new):
        return True  # empty, null and absent are told apart as values
    return _is_other(old, shape) or _is_other(new, shape)


def _is_empty(value: Any) -> bool:
    return value is None or value is ABSENT or value in ({}, [])


def _is_other(value: Any, shape: Any) -> bool:
    return value is not None and value is not ABSENT and type(value) is not type(shape)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _compare_maps(
    schema: Schema | None, old: dict[str, Any], new: dict[str, Any], path: Path, changes: Changes
) -> None:
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before is ABSENT or before != value:
            _compare(field_schema(schema, name), before, value, (*path, "f:" + name), changes)
    for name, value in old.items():
        if name not in new:
            _compare(field_schema(schema, name), value, ABSENT, (*path, "f:" + name), changes)


def _compare_lists(schema: Schema, old: list[Any], new: list[Any], path: Path, changes: Changes) -> None:
    before, after = items(schema, old), items(schema, new)
    for step, value in after.items():
        present = before.get(step, ABSENT)
        if present is ABSENT or present != value:
            _compare(schema.items, present, value, (*path, step), changes)
    for step, value in before.items():
        if step not in after:
            _compare(schema.items, value, ABSENT, (*path, step), changes)
