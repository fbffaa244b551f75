"""watch: events of a collection as they happen, written as shared bytes, bounded for each watcher.

Source: KEP-956 (bookmarks), KEP-3157 (sendInitialEvents), apiserver pkg/endpoints/handlers/watch.go.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

import orjson

from oarlock.cluster.apiserver import finding, metrics
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.exchange import JSON, Rest, Stream, Wire, chunk
from oarlock.cluster.apiserver.forms import Forms
from oarlock.cluster.apiserver.gathering import HEADER as GATHER
from oarlock.cluster.apiserver.gathering import GatheringWire, gather_s
from oarlock.cluster.apiserver.lens import Lens, Lenses
from oarlock.cluster.apiserver.listing import list_options, parse_version, settle
from oarlock.cluster.apiserver.negotiation import negotiate
from oarlock.cluster.apiserver.openwatch import OpenWatch, refusal
from oarlock.cluster.apiserver.options import whole_number
from oarlock.cluster.apiserver.rendering import TableOptions
from oarlock.cluster.apiserver.selection import Selection, selection
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import status
from oarlock.cluster.objects.status import ApiError

UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""A watcher that lets more than this pile up is cut off; it can resume from its last version."""
HELD_CHANGES_MAX = 20_000
"""The same for changes that wait for the initial events to be sent."""
MIN_TIMEOUT_S = 1800
"""Watches without a timeout end after this time to twice this time. Source: --min-request-timeout."""
INITIAL_BATCH = 200
PUMP_BATCH = 500


class _Watcher:
    """Takes changes from the cache and writes what its selection shows of them to one connection.

    Until `open` is called, changes are held back, so that they follow the initial events. Objects that a webhook has
    to convert are held back too, and what comes after them, until `pump` has them.
    """

    __slots__ = (
        "_chosen",
        "_events",
        "_forms",
        "_held",
        "_is_pumping",
        "_lens",
        "_waits",
        "_wire",
        "bookmarks",
        "call",
        "is_done",
        "sent",
    )

    def __init__(self, lens: Lens, forms: Forms, bookmarks: bool) -> None:
        self._lens = lens
        self._chosen = lens.chosen
        self._forms = forms
        resource = lens.chosen.resource
        self._waits = forms.waits(resource)
        self._is_pumping = False
        self._events = metrics.WATCH_EVENTS.of(resource.group, resource.version, resource.plural)
        self._wire: Wire | None = None
        self._held: list[Change] = []
        self.bookmarks = bookmarks
        self.call: Callable[[], None] | None = None
        self.is_done = False
        self.sent = 0
        """The newest revision among the events sent."""

    def open(self, wire: Wire, missed: list[Change]) -> None:
        """Start writing: first what was `missed` before the watch was registered, then what has been held back."""
        self._wire = wire
        held, self._held = Batch([*missed, *self._held]), []
        if held:
            self.deliver(held)

    def deliver(self, changes: Batch) -> None:
        if self._wire is None or self._waits:
            self._held.extend(changes)
            self._call()
            if len(self._held) > HELD_CHANGES_MAX:
                self._held.clear()
                self.lost()
            return
        self._send(changes)

    @property
    def is_behind(self) -> bool:
        return bool(self._held)

    def _call(self) -> None:
        if self.call is not None:
            self.call()

    async def pump(self) -> None:
        """Write what is held back, as it is converted. Raises ApiError where that fails."""
        self._is_pumping = True
        while self._held and not self.is_done:
            batch, self._held = self._held[:PUMP_BATCH], self._held[PUMP_BATCH:]
            self._send(await self._converted(batch))
        self._is_pumping = False

    async def _converted(self, changes: list[Change]) -> Batch:
        """Return changes of objects in the version that is watched."""
        chosen = [one for one in changes if self._chosen.holds(one.key)]
        # Without a selector nobody asks what an object was before, but when it is gone.
        pairs = [(None if one.new and self._chosen.everything else one.old, one.new) for one in chosen]
        entries = [entry for pair in pairs for entry in pair if entry is not None]
        shown = iter(await self._forms.shown(self._chosen.resource, entries))
        made = Batch()
        for change, (old, new) in zip(chosen, pairs, strict=True):
            before = next(shown) if old is not None else change.old
            made.append(Change(change.revision, before, next(shown) if new is not None else None))
        return made

    def _send(self, changes: Batch) -> None:
        lens = self._lens
        chunks, count = lens.see(changes)
        if count:
            self._lens = lens.after or lens
            self.sent = changes[-1].revision
            self._events.count += count
            self._write(chunks)

    def initial(self, entry: Entry) -> bytes:
        """Return the line of an object that is there already."""
        line = self._lens.initial(entry)
        self._lens = self._lens.after or self._lens
        return line

    def progress(self, revision: int) -> None:
        """Tell the client that it has seen everything up to `revision`."""
        if self._held or self._is_pumping:
            return
        if self._wire is not None and self.bookmarks and revision > self.sent:
            self.sent = revision
            self._write(chunk(self.bookmark(revision)))

    def lost(self) -> None:
        self.is_done = True
        self._call()

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """Return a BOOKMARK event line; `initial_end` marks the end of the initial events."""
        metadata: dict[str, object] = {"resourceVersion": str(revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        resource, representation = self._chosen.resource, self._lens.representation
        obj: dict[str, object] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if representation.transform:
            obj["kind"] = "PartialObjectMetadata"
            obj["apiVersion"] = representation.api_version
            if representation.transform == "Table":
                row = {"cells": [], "object": obj}
                table = {"kind": "Table", "apiVersion": representation.api_version}
                obj = {**table, "metadata": {"resourceVersion": str(revision)}, "columnDefinitions": [], "rows": [row]}
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"

    def _write(self, chunks: bytes) -> None:
        assert self._wire is not None
        if not self._wire.push(chunks, UNSENT_BYTES_MAX):
            self.lost()


class Watching:
    """Answers watch requests from the cache."""

    def __init__(self, cache: WatchCache, forms: Forms) -> None:
        self._cache = cache
        self._forms = forms
        self._lenses = Lenses()
        self._open: set[OpenWatch] = set()
        self._stopping = False

    def stop(self) -> None:
        """End every open watch, each with a last bookmark if it wants them, and each that is opened from now on."""
        self._stopping = True
        for watch in tuple(self._open):
            watch.stop()

    async def watch(self, call: Call, options: TableOptions) -> Stream:
        """Return the stream of events that the request selects. Raises ApiError 400, 406, 410, 422, 504."""
        wanted = list_options(call, watch=True)
        pause_s = gather_s(call.request.headers.get(GATHER, ""))
        chosen = selection(call)
        query = call.request.query
        accept = ",".join(part for part in call.accept.split(",") if "protobuf" not in part)
        initial_wanted, bookmarks = query.flag("sendInitialEvents"), query.flag("allowWatchBookmarks")
        representation = negotiate(accept, is_list=True, tables=not (initial_wanted and bookmarks))
        timeout_s = float(whole_number(query, "timeoutSeconds")) or MIN_TIMEOUT_S * (1 + random.random())
        if initial_wanted or wanted.version == "":
            await settle(self._cache, "" if wanted.version in ("", "0") else wanted.version)
        from_state = initial_wanted or wanted.version in ("", "0")
        version = parse_version(wanted.version)
        if not from_state and version > self._cache.revision:
            try:
                await settle(self._cache, str(version))
            except ApiError as error:
                return Stream(partial(_refuse, error))
        resource, collection = chosen.resource, self._cache.collection(chosen.resource.key_prefix)
        lens = self._lenses.of(chosen, representation, options)

        async def run(client: Wire) -> Rest | None:
            missed = [] if from_state else collection.after(version)
            if missed is None:
                error = status.expired(f"too old resource version: {version} ({collection.floor})")
                await _refuse(error, client)
                return None
            present = list(await finding.candidates(collection, chosen)) if from_state else []
            revision = self._cache.revision
            watcher = _Watcher(lens, self._forms, bookmarks)
            collection.watchers.add(watcher, chosen.interest)
            gauge = metrics.REGISTERED_WATCHERS.labels(resource.group, resource.version, resource.plural)
            wire = GatheringWire(client, pause_s) if pause_s else client
            watch = OpenWatch(watcher, collection, self._cache, gauge, self._open, wire, timeout_s)
            goes_on = False
            try:
                await self._send_state(wire, watcher, chosen, present)
                if not watcher.is_done and not self._stopping:  # else changes are missing: the client must begin anew
                    if initial_wanted and watcher.bookmarks:
                        wire.write(watcher.bookmark(revision, initial_end=True))
                    watcher.sent = max(watcher.sent, revision)
                    watcher.open(wire, missed)
                    goes_on = True
            except ApiError as error:
                # What could not be converted can't be left out; the client resumes from what it has seen.
                await _refuse(error, wire)
            finally:
                if not goes_on:
                    watch.gone()
            return watch if goes_on else None

        return Stream(run, content_type=JSON)

    async def _send_state(self, wire: Wire, watcher: _Watcher, chosen: Selection, present: list[Entry]) -> None:
        for at in range(0, len(present), INITIAL_BATCH):
            batch = await self._forms.shown(chosen.resource, present[at : at + INITIAL_BATCH])
            wire.write(b"".join(watcher.initial(entry) for entry in batch if chosen.matches(entry)))
            await wire.drain()
            await asyncio.sleep(0)  # among many that aren't chosen, nothing is written that would have to be waited for
        present.clear()  # the watch may last for hours, and what was there would stay as long


async def _refuse(error: ApiError, wire: Wire) -> None:
    wire.write(refusal(error))
