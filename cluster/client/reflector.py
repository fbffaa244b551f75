"""Keep a cache equal to one collection of the API server: its state, each change after it, its state after a 410."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from oarlock.cluster.client.cache import Cache, Change, key_of
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient, event_of
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
Transform = Callable[[Object], Object]

_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 5.0
_WATCH_S = (300, 600)
_PAGE_ITEMS = "500"
_BEHIND_S = 0.1
_SHORT_WATCH_S = 1.0
"""A watch that ends sooner without an event was ended by a server that is leaving, or refuses without saying so."""
_EXPIRED = 410
_UNKNOWN_WAY = (400, 422)
_STATE_ENDS = "k8s.io/initial-events-end"
_WITH_OTHERS_JSON = frozenset(
    ("controllerrevisions", "resourceclaims", "resourceclaimtemplates", "resourceslices", "deviceclasses")
)
"""Kinds in which somebody's own JSON may hold a member `managedFields` that isn't Kubernetes'."""


def without_managed_fields(obj: Object) -> Object:
    """Drop what no controller reads and what makes up a third of a small object."""
    obj["metadata"].pop("managedFields", None)
    return obj


def metadata_only(obj: Object) -> Object:
    """Keep what ownership and garbage collection need: identity and metadata."""
    without_managed_fields(obj)
    return {name: obj[name] for name in ("apiVersion", "kind", "metadata") if name in obj}


class Reflector:
    """Feeds one cache, until `run()` is cancelled.

    Every change is applied once and in order: a watch goes on from the last revision seen, the state is a consistent
    read and so never older than what is cached, and changes met twice are dropped by the cache. A cache that
    somebody waits on (`Cache.wait_revision`) and that stays behind gets the state at once, because a quiet kind's
    next bookmark may be a minute away.
    The state comes at the head of the watch itself, or in a list from a server that knows no other way.
    Source: Kubernetes API concepts, "Efficient detection of changes" and "Streaming lists"; KEP-3157.
    """

    def __init__(
        self,
        client: ApiClient,
        path: str,
        cache: Cache,
        params: Mapping[str, str] | None = None,
        transform: Transform = without_managed_fields,
        gather_ms: int = 0,
    ) -> None:
        self._client, self._path, self._cache = client, path, cache
        self.gather_ms = gather_ms
        """How long events may be gathered; with the first one after it was lowered a watch is opened anew."""
        self._params, self._transform = dict(params or {}), transform
        self._trims = transform is metadata_only or path.rpartition("/")[2] not in _WITH_OTHERS_JSON
        self._behind = asyncio.Event()
        self._failures = 0
        self._stale = True
        self._streams = True
        cache.on_behind = self._behind.set

    async def run(self) -> None:
        """List and watch for ever; failures are logged, backed off and tried again."""
        while True:
            try:
                if self._stale and not self._streams:
                    await self._list()
                await self._watch_until_behind()
                self._stale = self._stale or self._lags()
                self._failures = 0
            except ApiError as error:
                if self._stale and self._streams and error.code in _UNKNOWN_WAY:
                    self._streams = False
                    continue
                self._stale = True
                await self._failed(error, at_once=error.code == _EXPIRED)
            except Unreachable as error:
                await self._failed(error)
            except Exception as error:  # noqa: BLE001 - whoever stopped here would leave a cache that looks current
                _log.exception("watch faulty path=%s", self._path)
                self._stale = True
                await self._failed(error)

    async def _list(self) -> None:
        page = await self._client.list(self._path, {**self._params, "limit": _PAGE_ITEMS})
        # A list's items carry neither kind nor apiVersion.
        kind = {"apiVersion": page.get("apiVersion"), "kind": str(page.get("kind", "")).removesuffix("List")}
        items = (self._transform({**kind, **item}) for item in _taken(page["items"]))
        await self._replace(items, page)

    async def _replace(self, items: Iterable[Object], stamped: Object) -> None:
        for _ in self._cache.replacing(items, int(stamped["metadata"]["resourceVersion"])):
            await asyncio.sleep(0)
        self._stale = False

    async def _watch_until_behind(self) -> None:
        """Watch until the server ends the request or someone has waited `_BEHIND_S` for a later revision."""
        watching = asyncio.ensure_future(self._watch())
        try:
            while not watching.done():
                behind = asyncio.ensure_future(self._behind.wait())
                try:
                    await asyncio.wait((watching, behind), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    behind.cancel()
                if self._behind.is_set():
                    self._behind.clear()
                    await asyncio.wait((watching,), timeout=_BEHIND_S)
                    if not watching.done() and not self._stale and self._lags():
                        return
            watching.result()
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _watch(self) -> None:
        params = {
            **self._params,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*_WATCH_S)),
        }
        state: dict[str, Object] | None = None
        if self._stale:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            state = {}
        else:
            params["resourceVersion"] = str(self._cache.revision)
        began, gather_ms = asyncio.get_running_loop().time(), self.gather_ms
        seen = False
        asked = self._client.pieces(self._path, {**params, "watch": "1"}, gather_ms=gather_ms)
        async with aclosing(asked) as pieces:
            async for lines in pieces:
                self._failures, seen = 0, True
                for line in lines:
                    event = event_of(line, trimmed=self._trims)
                    if state is None:
                        self._take(event["type"], event["object"])
                    else:
                        state = await self._begin(state, event["type"], event["object"])
                if state is None and self.gather_ms < gather_ms:
                    return
        if not seen and asyncio.get_running_loop().time() - began < _SHORT_WATCH_S:
            raise Unreachable(f"the watch of {self._path} ended at once", sent=True)

    async def _begin(self, state: dict[str, Object], change: str, obj: Object) -> dict[str, Object] | None:
        """Take one event of a watch that begins with the state; return what has come of it, None once it is whole."""
        if change == "BOOKMARK" and (obj["metadata"].get("annotations") or {}).get(_STATE_ENDS) == "true":
            items = list(state.values())
            state.clear()
            await self._replace(_taken(items), obj)
            if self._lags():
                self._behind.set()
            return None
        if change == "DELETED":
            state.pop(key_of(obj), None)
        elif change != "BOOKMARK":
            state[key_of(obj)] = self._transform(obj)
        return state

    def _take(self, change: str, obj: Object) -> None:
        if change == "BOOKMARK":
            self._cache.advance(int(obj["metadata"]["resourceVersion"]))
        else:
            self._cache.apply(cast("Change", change), self._transform(obj))

    def _lags(self) -> bool:
        return self._cache.wanted_revision > self._cache.revision

    async def _failed(self, error: Exception, *, at_once: bool = False) -> None:
        self._failures += 1
        if at_once and self._failures == 1:
            return
        pause_s = min(_BACKOFF_FIRST_S * 2 ** min(self._failures, 10), _BACKOFF_MAX_S) * random.uniform(0.5, 1.0)
        level = logging.DEBUG if self._failures < 3 else logging.WARNING
        _log.log(level, "watch failed path=%s failures=%d error=%r", self._path, self._failures, str(error))
        await asyncio.sleep(pause_s)


def _taken(items: list[Object]) -> Iterator[Object]:
    """Yield the items and keep none: to let go of thousands at once takes long."""
    items.reverse()
    while items:
        yield items.pop()


_log = logging.getLogger(__name__)
