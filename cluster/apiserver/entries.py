"""What the watch cache holds: objects as the bytes that go to clients, and their changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from oarlock.cluster.apiserver.exchange import chunk
from oarlock.cluster.objects import codec
from oarlock.consensus.model import KeyValue


class Entry:
    """One object at one revision: `wire` is its JSON with the revision in it. Parsed only when asked."""

    __slots__ = ("create_revision", "key", "labels", "revision", "selectable", "wire")

    def __init__(self, key: bytes, wire: bytes, create_revision: int, revision: int) -> None:
        self.key = key
        self.wire = wire
        self.create_revision = create_revision
        self.revision = revision
        self.labels: dict[str, str] | None = None
        """The object's labels once a selector has asked for them."""
        self.selectable: dict[str, str] | None = None
        """The values of the fields that selectors may name, once one has asked for them."""

    @classmethod
    def of(cls, kv: KeyValue) -> Entry:
        """Return the entry that a stored value makes."""
        return cls(kv.key, codec.with_revision(kv.value, kv.mod_revision), kv.create_revision, kv.mod_revision)

    def object(self) -> dict[str, Any]:
        """Return a fresh parsed copy."""
        parsed: dict[str, Any] = orjson.loads(self.wire)
        return parsed

    def at(self, revision: int) -> Entry:
        """Return the same object as a deletion at `revision` shows it."""
        old, new = b'"resourceVersion":"%d"' % self.revision, b'"resourceVersion":"%d"' % revision
        # The first match is the spliced one: it stands first in metadata, behind kind and apiVersion only.
        moved = type(self)(self.key, self.wire.replace(old, new, 1), self.create_revision, revision)
        moved.labels, moved.selectable = self.labels, self.selectable
        return moved


class Change:
    """One object's step at `revision`: from `old` (None: created) to `new` (None: deleted)."""

    __slots__ = ("_chunks", "new", "old", "revision")

    def __init__(self, revision: int, old: Entry | None, new: Entry | None) -> None:
        self.revision = revision
        self.old = old
        self.new = new
        self._chunks: dict[str, bytes] = {}

    @property
    def key(self) -> bytes:
        entry = self.new or self.old
        assert entry is not None
        return entry.key

    def chunk(self, kind: str) -> bytes:
        """Return the watch event of `kind` (ADDED, MODIFIED, DELETED), a JSON line in a chunk, made once for all."""
        made = self._chunks.get(kind)
        if made is None:
            line = b'{"type":"%b","object":%b}\n' % (kind.encode(), self.shown(kind).wire)
            made = self._chunks[kind] = chunk(line)
        return made

    def shown(self, kind: str) -> Entry:
        """Return what an event of `kind` shows: for a deletion the last state, at the deletion's revision."""
        if kind == "DELETED":
            assert self.old is not None
            return self.old.at(self.revision)
        assert self.new is not None
        return self.new


class Batch(list[Change]):
    """Changes of which watchers are told together.

    `seen` is for what those who look at the same see of them; nothing is added to the changes once somebody has looked.
    """

    __slots__ = ("seen",)

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        super().__init__(changes)
        self.seen: dict[object, tuple[bytes, int]] = {}


class Watcher(Protocol):
    """Who is told of a collection's changes. Called in the loop's turn: must not wait or raise."""

    def deliver(self, changes: Batch) -> None: ...

    def lost(self) -> None:
        """The cache has a gap: the watch can't go on."""
        ...
