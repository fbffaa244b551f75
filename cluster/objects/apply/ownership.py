"""managedFields: who wrote which field of an object last, or applied it.

Source: apimachinery pkg/util/managedfields; structured-merge-diff's merge/update.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects.apply import fieldsets, merging, shapes, versions
from oarlock.cluster.objects.apply.comparing import Changes, Unowned, compare, written
from oarlock.cluster.objects.apply.fieldsets import Path, Trie
from oarlock.cluster.objects.apply.versions import Steps
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.schemas import Schema

Obj = dict[str, Any]
Entry = dict[str, Any]
UPDATE_MANAGERS_MAX: Final = 10
_ANCIENT: Final = "ancient-changes"
_BEFORE_FIRST_APPLY: Final = "before-first-apply"
#: What nobody owns: identity, and what the server keeps.
_UNOWNED: Final = frozenset(
    {
        *(("f:apiVersion",), ("f:kind",), ("f:metadata",)),
        *(
            ("f:metadata", "f:" + name)
            for name in (
                *("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation"),
                *("managedFields", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"),
            )
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """An applied field that somebody else owns with another value."""

    owner: Entry
    path: Path


class Conflicts(Exception):
    """An apply that would take fields from others and was not told to."""

    def __init__(self, found: Sequence[Conflict]) -> None:
        super().__init__(f"{len(found)} conflicts")
        self.found = found


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes: `time` is the write's, RFC 3339; `subresource` "" is the object's own endpoint."""

    name: str
    api_version: str
    time: str
    subresource: str = ""

    def entry(self, operation: str, owned: Trie) -> Entry:
        """Return an entry of managedFields."""
        made = {
            "manager": self.name,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": owned,
        }
        return {**made, "subresource": self.subresource} if self.subresource else made

    def is_behind(self, entry: Entry, operation: str) -> bool:
        """Whether `entry` is this manager's for that operation; what was applied is so in any version."""
        return (
            entry["manager"] == self.name
            and entry["operation"] == operation
            and entry.get("subresource", "") == self.subresource
            and (operation == "Apply" or entry.get("apiVersion") == self.api_version)
        )


def apart(obj: Obj) -> Obj:
    """Return an object without its managedFields; everything else is shared."""
    return {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name != "managedFields"}}


def present(live: Sequence[Entry], given: object) -> list[Entry]:
    """Return the entries that a write begins with: those that its object brings if they are whole, else the live ones.

    A single empty entry resets them all.
    """
    if not isinstance(given, list) or not given:
        return list(live)
    if given == [{}]:
        return []
    return given if given == live or all(map(_is_whole, given)) else list(live)


def _is_whole(entry: object) -> bool:
    if not isinstance(entry, dict) or entry.get("operation") not in ("Apply", "Update"):
        return False
    return (
        bool(entry.get("apiVersion"))
        and isinstance(entry.get("manager", ""), str)
        and (fieldsets.is_well_formed(entry.get("fieldsV1", {})))
    )


def updated(schema: Schema, entries: Sequence[Entry], old: Obj, new: Obj, manager: Manager) -> list[Entry]:
    """Return the entries after `manager` wrote `new` over `old`: it owns what it changed, nobody what is gone.

    All entries are about the version that is written.
    """
    if not entries:
        owned = written(schema, old, new, _unowned(manager, ("f:" + name for name in new)))
        return [manager.entry("Update", owned)] if owned else []
    return versions.only(updating(schema, entries, old, new, manager, apart=False))


def updating(
    schema: Schema, entries: Sequence[Entry], old: Obj, new: Obj, manager: Manager, *, apart: bool
) -> Steps[list[Entry]]:
    """The same where, with `apart`, entries of other versions are about objects of another form."""
    changes = compare(schema, old, new)
    modified = [path for path in changes.modified if _is_owned(path, manager)]
    added = [(place, inside) for place, inside in changes.added if _is_owned(place, manager)]
    removed = [path for path in changes.removed if path not in _UNOWNED]
    if not modified and not added and not removed:
        return list(entries)
    lost_by_others = [*Changes(added, modified).written(), *removed] if entries else removed
    elsewhere = yield from versions.changes(entries, old, new, manager.api_version, apart=apart)
    own = next((entry for entry in entries if manager.is_behind(entry, "Update")), None)
    kept: list[Entry] = []
    for entry in entries:
        lost: Iterable[Path] = removed if entry is own else lost_by_others
        if (version := entry.get("apiVersion", "")) in elsewhere:
            there = elsewhere[version]
            if there is None:
                continue
            lost = [*(path for path in there.written() if _is_owned(path, manager)), *there.removed]
        left = _without(entry, lost)
        if left is not None and entry is not own:
            kept.append(left)
        elif entry is own:
            own = left
    if modified or added:
        owned = fieldsets.copy(own["fieldsV1"]) if own is not None else {}
        for path in modified:
            fieldsets.insert(owned, path)
        for place, inside in added:
            fieldsets.graft(owned, place, inside)
        own = manager.entry("Update", owned)
    return _ordered(_capped([*kept, own] if own is not None else kept))


def _unowned(manager: Manager, members: Iterable[str]) -> Unowned:
    """Return what of an object of these members can't be owned by a write through this endpoint.

    The status has an endpoint of its own.
    """
    if manager.subresource in ("", "scale"):
        return _UNOWNED_BY_MAIN
    if manager.subresource == "status":
        return {**{one: None for one in members if one not in ("f:status", "f:metadata")}, **_UNOWNED_METADATA}
    return _UNOWNED_TREE


_UNOWNED_METADATA: Final[Unowned] = {"f:metadata": {path[1]: {} for path in _UNOWNED if len(path) > 1}}
_UNOWNED_TREE: Final[Unowned] = {**{path[0]: {} for path in _UNOWNED}, **_UNOWNED_METADATA}
_UNOWNED_BY_MAIN: Final[Unowned] = {**_UNOWNED_TREE, "f:status": None}


def _is_owned(path: Path, manager: Manager) -> bool:
    """Whether a write through this endpoint can own a path."""
    unowned: Unowned | None = _unowned(manager, path[:1])
    for step in path:
        if unowned is None:
            return False
        if step not in unowned:
            return True
        unowned = unowned[step]
    return False


def _without(entry: Entry, lost: Iterable[Path]) -> Entry | None:
    """Return an entry without the `lost` paths: itself if it has none of them, None if nothing is left."""
    owned: Trie = entry.get("fieldsV1") or {}
    gone = [path for path in lost if fieldsets.contains(owned, path)]
    if not gone:
        return entry
    left = fieldsets.copy(owned)
    for path in gone:
        fieldsets.discard(left, path)
    return {**entry, "fieldsV1": left} if left else None


def applied(
    schema: Schema, entries: Sequence[Entry], live: Obj, config: Obj, manager: Manager, *, force: bool
) -> tuple[Obj, list[Entry]]:
    """Lay `config` over `live`: return the object and the entries after it.

    What the manager applied before and applies no more goes, unless somebody else owns it. All entries are about the
    version that is applied. Raises Conflicts.
    """
    return versions.only(applying(schema, entries, live, config, manager, force=force, apart=False))


def applying(
    schema: Schema, entries: Sequence[Entry], live: Obj, config: Obj, manager: Manager, *, force: bool, apart: bool
) -> Steps[tuple[Obj, list[Entry]]]:
    """The same where, with `apart`, entries of other versions are about objects of another form."""
    if not entries and live:
        first = Manager(_BEFORE_FIRST_APPLY, manager.api_version, manager.time)
        entries = updated(schema, (), {"metadata": {}}, live, first)
    before = next((entry for entry in entries if manager.is_behind(entry, "Apply")), None)
    others = [entry for entry in entries if entry is not before]
    asked = {path for path in shapes.leaves(schema, config) if _is_owned(path, manager)}
    merged = merging.merge(schema, live, config)
    if before is not None:
        if apart and any(one.get("apiVersion", "") != manager.api_version for one in entries):
            merged = yield from versions.pruned(schema, merged, before, others, asked, manager.api_version, _UNOWNED)
        else:
            merged = _pruned(schema, merged, before, others, asked)
    elsewhere = yield from versions.changes(others, live, merged, manager.api_version, apart=apart)
    kept = _settled(schema, others, live, merged, manager, elsewhere, force=force)
    owned = fieldsets.of(asked)
    if before is not None and owned == before.get("fieldsV1") and before.get("apiVersion") == manager.api_version:
        mine = before
    else:
        mine = manager.entry("Apply", owned)
    return merged, _ordered([*kept, mine] if owned else kept)


def _pruned(schema: Schema, merged: Obj, before: Entry, others: Sequence[Entry], asked: set[Path]) -> Obj:
    last = fieldsets.members(before.get("fieldsV1") or {})
    if last <= asked:
        return merged
    managed = asked.union(*(fieldsets.members(entry.get("fieldsV1") or {}) for entry in others))
    return merging.without(schema, merged, shapes.named(schema, last) - shapes.named(schema, managed) - _UNOWNED)


def _settled(
    schema: Schema,
    others: Sequence[Entry],
    live: Obj,
    merged: Obj,
    manager: Manager,
    elsewhere: Mapping[str, Changes | None],
    *,
    force: bool,
) -> list[Entry]:
    """Return the others' entries, without what is taken from them by force and what is gone. Raises Conflicts.

    `elsewhere` is what changed in the forms of other versions, None for one that there isn't any more.
    """
    changes = {**elsewhere, manager.api_version: compare(schema, live, merged)}
    lost: dict[int, list[Path]] = {}
    found: list[Conflict] = []
    for entry in others:
        seen = changes.get(entry.get("apiVersion", ""), changes[manager.api_version])
        if seen is None:
            continue
        written = [path for path in seen.written() if _is_owned(path, manager)]
        owned = entry.get("fieldsV1") or {}
        found += [Conflict(entry, path) for path in sorted(written) if fieldsets.contains(owned, path)]
        lost[id(entry)] = [*written, *seen.removed]
    if found and not force:
        raise Conflicts(found)
    standing = [entry for entry in others if id(entry) in lost]
    return [left for entry in standing if (left := _without(entry, lost[id(entry)])) is not None]


def _capped(entries: list[Entry]) -> list[Entry]:
    """Fold the oldest updaters of a version into one when there are too many."""
    updaters = [entry for entry in entries if entry["operation"] == "Update"]
    surplus = len(updaters) - UPDATE_MANAGERS_MAX
    if surplus <= 0:
        return entries
    folded = sorted(updaters, key=lambda entry: (entry.get("time") or "", entry["manager"]))[: surplus + 1]
    ancient: dict[str, Entry] = {}
    for entry in folded:
        version = entry.get("apiVersion", "")
        earlier = ancient.get(version)
        paths = fieldsets.members(entry.get("fieldsV1") or {})
        if earlier is not None:
            paths |= fieldsets.members(earlier["fieldsV1"])
        made = Manager(_ANCIENT, version, entry.get("time", ""))
        ancient[version] = made.entry("Update", fieldsets.of(paths))
    return [*(entry for entry in entries if not any(entry is one for one in folded)), *ancient.values()]


def _ordered(entries: list[Entry]) -> list[Entry]:
    return sorted(
        entries,
        key=lambda one: (
            *(one["operation"], one.get("time") or "", one["manager"]),
            *(one.get("apiVersion", ""), one.get("subresource", "")),
        ),
    )


def described(entry: Entry) -> str:
    """Return who an entry's manager is, as conflicts name it."""
    text = quote(entry["manager"])
    if entry.get("subresource"):
        text += f" with subresource {quote(entry['subresource'])}"
    return f"{text} using {entry.get('apiVersion', '')}" if entry["operation"] == "Update" else text
