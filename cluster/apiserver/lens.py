"""What watches see of a collection's changes: watches that ask for the same see the same bytes, made once.

A change that a hundred clients watch alike is judged, encoded and framed for the first of them only.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakValueDictionary

import orjson

from oarlock.cluster.apiserver import rendering, views
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.exchange import chunk
from oarlock.cluster.apiserver.negotiation import Representation
from oarlock.cluster.apiserver.rendering import TableOptions
from oarlock.cluster.apiserver.selection import Selection


class Lens:
    """One selection in one representation."""

    __slots__ = ("__weakref__", "_options", "after", "chosen", "representation")

    def __init__(
        self, chosen: Selection, representation: Representation, options: TableOptions, after: Lens | None = None
    ) -> None:
        self.chosen = chosen
        self.representation = representation
        self._options = options
        self.after = after
        """The lens through which everything but a watch's first event is seen, if that differs."""

    def see(self, changes: Batch) -> tuple[bytes, int]:
        """Return the events that changes are here, as chunks of the answer, and how many events that are.

        The batch remembers it for other watchers with this lens.
        """
        seen = changes.seen.get(self)
        if seen is None:
            chunks: list[bytes] = []
            lens = self
            for change in changes:
                if made := lens._chunk(change):
                    chunks.append(made)
                    lens = self.after or self
            seen = changes.seen[self] = (chunks[0] if len(chunks) == 1 else b"".join(chunks), len(chunks))
        return seen

    def initial(self, entry: Entry) -> bytes:
        """Return the ADDED line of an object that is there already."""
        if self._is_shared(entry):
            return b'{"type":"ADDED","object":%b}\n' % entry.wire
        return self._encoded("ADDED", entry)

    def _chunk(self, change: Change) -> bytes:
        if not self.chosen.holds(change.key):
            return b""
        was = change.old is not None and self.chosen.matches(change.old)
        matches = change.new is not None and self.chosen.matches(change.new)
        if not was and not matches:
            return b""
        kind = "MODIFIED" if was and matches else "ADDED" if matches else "DELETED"
        shown = change.old if kind == "DELETED" else change.new
        assert shown is not None
        return change.chunk(kind) if self._is_shared(shown) else chunk(self._encoded(kind, change.shown(kind)))

    def _is_shared(self, entry: Entry) -> bool:
        """Whether what is seen are the bytes that everybody sees who wants no other form."""
        return not self.representation.transform and views.as_stored(self.chosen.resource, entry)

    def _encoded(self, kind: str, entry: Entry) -> bytes:
        obj = rendering.event_object(self.chosen.resource, entry, self.representation, self._options)
        return orjson.dumps({"type": kind, "object": obj}) + b"\n"


class Lenses:
    """The lenses through which somebody looks."""

    def __init__(self) -> None:
        self._lenses: WeakValueDictionary[object, Lens] = WeakValueDictionary()

    def of(self, chosen: Selection, representation: Representation, options: TableOptions) -> Lens:
        """Return the lens of a selection in a representation, the same for all who look through it."""
        # Two generations of a custom kind are equal, but show objects by rules of their own.
        key = (chosen, representation, options.include, options.headers, id(chosen.resource.custom))
        lens = self._lenses.get(key)
        if lens is None:
            # Only a watch's first table tells its columns.
            told = representation.transform == "Table" and options.headers
            after = self.of(chosen, representation, replace(options, headers=False)) if told else None
            lens = self._lenses[key] = Lens(chosen, representation, options, after)
        return lens
