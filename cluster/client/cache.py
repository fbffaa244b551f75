"""An indexed copy of one kind's objects, kept by a reflector; a plain data structure without IO."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

Object = dict[str, Any]
Objects = list[Object]
Change = Literal["ADDED", "MODIFIED", "DELETED"]
Handler = Callable[[Change, "Object | None", "Object | None"], None]
"""Called as (change, old, new); old is None for ADDED, new is None for DELETED."""
IndexBy = Callable[[Object], Iterable[str]]
Values = tuple[str, ...]

_log = logging.getLogger(__name__)

STEP_OBJECTS = 100
"""How many objects are looked at before others have their turn."""


def key_of(obj: Object) -> str:
    """Return `namespace/name`, or `name` for a cluster-scoped object."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else metadata["name"]


class Cache:
    """Objects by key. They are shared: whoever reads one must not change it.

    `revision` is the store revision up to which every change of the kind is in here; it never goes back.
    `synced` is set by the first full list.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.revision = 0
        self.synced = asyncio.Event()
        self.on_behind: Callable[[], None] | None = None
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, IndexBy] = {"namespace": _namespace}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {"namespace": {}}
        """Keys by value: a change that leaves an object's values as they were changes no index."""
        self._handlers: list[Handler] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, key: str) -> Object | None:
        """Return the object `namespace/name` (or `name`), or None."""
        return self._objects.get(key)

    def list(self, namespace: str | None = None) -> Objects:
        """Return all objects, or those of one namespace."""
        return list(self._objects.values()) if namespace is None else self.by_index("namespace", namespace)

    def by_index(self, index: str, value: str) -> Objects:
        """Return the objects for which the named index yields `value`, oldest in the cache first."""
        keys = self._indexes[index].get(value)
        return [self._objects[key] for key in keys] if keys else []

    def count(self, index: str, value: str) -> int:
        """Return for how many objects the named index yields `value`."""
        return len(self._indexes[index].get(value, ()))

    def index_values(self, index: str) -> Iterable[str]:
        """Return the values under which the named index holds at least one object."""
        return tuple(self._indexes[index])

    def add_index(self, name: str, by: IndexBy) -> None:
        """Index by the values that `by` yields for an object; a name already there is left as it is."""
        if name in self._indexers:
            return
        self._indexers[name], self._indexes[name] = by, {}
        for key, obj in self._objects.items():
            self._enter(name, by(obj), key)

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` for every change from now on, after one ADDED for each object that is there."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            self._call(handler, "ADDED", None, obj)

    async def wait_revision(self, revision: int) -> None:
        """Return once every change up to `revision` is in the cache (and its handlers were called)."""
        if self.revision >= revision and self.synced.is_set():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        if self.on_behind is not None:
            self.on_behind()
        try:
            await waiter
        finally:
            self._waiters = [entry for entry in self._waiters if entry[1] is not waiter]

    @property
    def wanted_revision(self) -> int:
        """The highest revision that anybody waits for, 0 when nobody does."""
        return max((revision for revision, _ in self._waiters), default=0)

    def replace(self, objects: Iterable[Object], revision: int) -> None:
        """Become exactly `objects`, telling handlers only what differs from before."""
        for _ in self.replacing(objects, revision):
            pass

    def replacing(self, objects: Iterable[Object], revision: int) -> Iterator[None]:
        """Do the same in steps, each short enough for an event loop that others share.

        Between two steps some objects are as they were and some are as they are, as between two watch events;
        `revision` says so only at the end. Nothing else may change the cache meanwhile.
        """
        fresh: dict[str, Object] = {}
        for number, obj in enumerate(objects, start=1):
            fresh[key_of(obj)] = obj
            if number % STEP_OBJECTS == 0:
                yield
        for number, key in enumerate(list(self._objects), start=1):
            if key not in fresh:
                self._set(key, None)
            if number % STEP_OBJECTS == 0:
                yield
        for number, key in enumerate(list(fresh), start=1):
            self._set(key, fresh.pop(key))  # what is here already is let go now, not all of it at the end
            if number % STEP_OBJECTS == 0:
                yield
        self.synced.set()
        self.advance(revision)

    def apply(self, change: Change, obj: Object) -> None:
        """Take one watch event; one from before `revision` changes nothing.

        One transaction may change several objects, so an event may carry the very revision that is here already.
        """
        revision = int(obj["metadata"].get("resourceVersion") or 0)
        if revision and revision < self.revision:
            return
        self._set(key_of(obj), None if change == "DELETED" else obj)
        self.advance(revision)

    def advance(self, revision: int) -> None:
        """Note that all changes up to `revision` are here (a bookmark, or the end of a list)."""
        self.revision = max(self.revision, revision)
        if not self.synced.is_set():
            return
        for wanted, waiter in self._waiters:
            if wanted <= self.revision and not waiter.done():
                waiter.set_result(None)

    def _set(self, key: str, obj: Object | None) -> None:
        old = self._objects.get(key)
        if old is not None and obj is not None and _same(old, obj):
            return
        if old is not None and obj is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._set(key, None)  # deleted and made again between two looks: handlers must see both
            old = None
        if old is None and obj is None:
            return
        # Asked before anything is changed: an index that fails for an object must leave no half of it behind.
        moves = [(name, values) for name, by in self._indexers.items() if (values := _values(by, old, obj)) is not None]
        if obj is None:
            del self._objects[key]
        else:
            self._objects[key] = obj
        for name, (before, after) in moves:
            self._leave(name, before, key)
            self._enter(name, after, key)
        change: Change = "DELETED" if obj is None else "ADDED" if old is None else "MODIFIED"
        for handler in self._handlers:
            self._call(handler, change, old, obj)

    def _enter(self, name: str, values: Iterable[str], key: str) -> None:
        for value in values:
            self._indexes[name].setdefault(value, {})[key] = None

    def _leave(self, name: str, values: Iterable[str], key: str) -> None:
        index = self._indexes[name]
        for value in values:
            members = index.get(value)
            if members is not None:
                members.pop(key, None)
                if not members:
                    del index[value]

    def _call(self, handler: Handler, change: Change, old: Object | None, new: Object | None) -> None:
        try:
            handler(change, old, new)
        except Exception:  # noqa: BLE001
            # One handler's fault must neither stop the others nor the reflector that feeds them.
            _log.exception("handler failed cache=%s change=%s", self.name, change)


def _values(by: IndexBy, old: Object | None, new: Object | None) -> tuple[Values, Values] | None:
    """Return the values of an object before and after a change, None if it leaves them as they are."""
    before = tuple(by(old)) if old is not None else ()
    after = tuple(by(new)) if new is not None else ()
    return None if before == after else (before, after)


def _namespace(obj: Object) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


def _same(old: Object, new: Object) -> bool:
    revision = new["metadata"].get("resourceVersion")
    return revision is not None and old["metadata"].get("resourceVersion") == revision
