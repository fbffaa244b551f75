"""One controller's loop: changes → keys → queue → reconcile → perform → wait until the caches show it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import Counter

from oarlock.actors.controllers.actions import Action, Outcome, Performer, is_terminating
from oarlock.actors.controllers.sharding import WHOLE, Shard
from oarlock.actors.controllers.view import View
from oarlock.actors.controllers.workers import Workers
from oarlock.cluster.client.cache import STEP_OBJECTS
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_CAUGHT_UP_TIMEOUT_S = 10.0
_CONFLICT = 409
"""Objects looked at in one turn of the event loop."""

_RECONCILES = Counter("oarlock_controller_reconciles", "Keys reconciled, by outcome", ["controller", "outcome"])
_WRITES = Counter("oarlock_controller_writes", "API writes by controllers, Events apart", ["controller"])
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    """A key to reconcile `after_s` from now; changes of status only are given a moment to gather in."""

    key: str
    after_s: float = 0.0


class Keys(Protocol):
    """Which keys a change of an object concerns; `old` is None for a new object, `new` for a deleted one."""

    def __call__(self, plural: str, old: Object | None, new: Object | None, view: View, /) -> Iterable[Due]: ...


@dataclass(frozen=True)
class Controller:
    """One kind's decisions. `reads` are the plural names whose changes go through `keys`.

    The first of them is the kind that keys name. `counts` are further ones, of whose objects the metadata is enough;
    `looks_at` are kinds that decisions read without being woken by them. `source` is the component that its Events come
    from. `resync_s` reconciles the keys of `all_keys` again and again. One that is `undivided` gives out what there is
    once, so it acts in one shard, on every key.
    """

    name: str
    source: str
    reads: tuple[str, ...]
    keys: Keys
    reconcile: Callable[[str, View], Iterable[Action]]
    counts: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()
    workers: int = 8
    resync_s: float | None = None
    all_keys: Callable[[View], Iterable[str]] | None = None
    undivided: bool = False


class ControllerLoop:
    """Runs one controller over the shared caches.

    A worker gives a key back only when the caches show what it wrote: so no decision is ever made on a picture from
    before the decision before it, and no write is repeated. This takes the place of upstream's expectations.
    """

    def __init__(
        self,
        controller: Controller,
        view: View,
        performer: Performer,
        settle: Callable[[], Any],
        shard: Shard = WHOLE,
    ) -> None:
        self.controller, self._view, self._performer, self._settle = controller, view, performer, settle
        self._shard = shard
        self._workers = Workers(controller.name, controller.workers, self._one)

    def attach(self) -> None:
        """Follow the caches from now on; changes are turned into keys only while `run()` runs."""
        for plural in (*self.controller.reads, *self.controller.counts):
            self._view.caches[plural].add_handler(self._handler(plural))

    async def run(self) -> None:
        """Act until cancelled, beginning with every object that there is."""
        await self._workers.run(self._begin, self._resync if self.controller.resync_s is not None else None)

    async def _begin(self) -> None:
        looked_at = 0
        for plural in (*self.controller.reads, *self.controller.counts):
            for obj in self._view.list(plural):
                looked_at += 1
                for due in self.controller.keys(plural, None, obj, self._view):
                    looked_at += 1
                    self._add(due)
                if looked_at >= STEP_OBJECTS:
                    looked_at = 0
                    await asyncio.sleep(0)  # renewals and watches go on meanwhile

    def _handler(self, plural: str) -> Callable[[str, Object | None, Object | None], None]:
        workers, keys, view = self._workers, self.controller.keys, self._view

        def handle(_change: str, old: Object | None, new: Object | None) -> None:
            if workers.are_acting:
                for due in keys(plural, old, new, view):
                    self._add(due)

        return handle

    def _add(self, due: Due) -> None:
        if self._owns(due.key):
            self._workers.queue.add_after(due.key, due.after_s)

    def _owns(self, key: str) -> bool:
        return self._shard.owns(key, self._view.get(self.controller.reads[0], key))

    async def _one(self, key: str) -> bool:
        # Its object may have come or gone since the key was added, and another shard have it now.
        if not self._owns(key):
            return True
        name = self.controller.name
        outcome = Outcome()
        result = await self._reconciled(key, outcome)
        _RECONCILES.labels(name, result).inc()
        _WRITES.labels(name).inc(outcome.writes)
        if outcome.requeue_s is not None:
            self._workers.queue.add_after(key, outcome.requeue_s)
        await self._caught_up(outcome.revisions)
        return result in ("done", "terminating")

    async def _reconciled(self, key: str, outcome: Outcome) -> str:
        """Decide and act; returns what came of it."""
        name = self.controller.name
        try:
            await self._performer.perform(self.controller.reconcile(key, self._view), outcome)
        except ApiError as error:
            if is_terminating(error):
                return "terminating"
            result = "conflict" if error.code == _CONFLICT else "refused"
            level = logging.DEBUG if result == "conflict" else logging.INFO
            _log.log(level, "reconcile refused controller=%s key=%s error=%r", name, key, error.message)
            return result
        except Unreachable as error:
            _log.info("reconcile unreachable controller=%s key=%s error=%r", name, key, str(error))
            if error.sent:
                await self._settle()
            return "unreachable"
        except Exception:  # noqa: BLE001 - a fault in one key must hurt no other key
            _log.exception("reconcile failed controller=%s key=%s", name, key)
            return "fault"
        return "done"

    async def _caught_up(self, revisions: Mapping[str, int]) -> None:
        for plural, revision in revisions.items():
            cache = self._view.caches.get(plural)
            if cache is not None:
                try:
                    async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
                        await cache.wait_revision(revision)
                except TimeoutError:
                    _log.warning(
                        "cache behind controller=%s plural=%s revision=%d", self.controller.name, plural, revision
                    )

    async def _resync(self) -> None:
        assert self.controller.resync_s is not None
        while True:
            await asyncio.sleep(self.controller.resync_s)
            if self.controller.all_keys is not None:
                for number, key in enumerate(self.controller.all_keys(self._view), start=1):
                    if self._owns(key):
                        self._workers.queue.add(key)
                    if number % STEP_OBJECTS == 0:
                        await asyncio.sleep(0)
