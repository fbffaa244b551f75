"""Quotas are paid in the transaction of what costs them: one write at a time in each namespace that has any.

Every write of a namespace with quotas changes the same few objects, so that concurrent ones would defeat each other
over and over. Here they queue. A transaction that succeeds or fails tells what the quotas are now, so the next one
needs no read; only another API server's write can make one fail, and each of its writes at most one of ours.
Source: decision 0016.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.quota.charging import charged, concerns
from oarlock.cluster.apiserver.admission.view import View, resource
from oarlock.cluster.apiserver.claims import Claims, Unmet, replace
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.objects import codec, quota_usage, status
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import KeyValue

Obj = dict[str, Any]
Write = Callable[[Claims], Awaitable[Entry]]
"""Stores an object together with the claims that pay for it. Raises Unmet when they no longer hold."""
ATTEMPTS_MAX = 64
"""How often a write starts again because another API server was faster."""
LEDGERS_MAX = 4096
"""Namespaces whose quotas are remembered beyond what the cache has shown of them."""


class Ledgers:
    """The quotas of all namespaces. Raises ApiError 403 for what is too much, StoreError, and what a write raises."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ledgers: dict[str, _Ledger] = {}

    async def put(self, attributes: Attributes, write: Write) -> Entry:
        """Write with what pays for it, and return what the write returns."""
        if not self._is_limited(attributes):
            return await write(())
        return await self._of(attributes.namespace).put(attributes, write)

    async def check(self, attributes: Attributes) -> None:
        """Refuse what `put` would refuse now; nothing is taken."""
        if self._is_limited(attributes):
            await self._of(attributes.namespace).check(attributes)

    def _is_limited(self, attributes: Attributes) -> bool:
        if not concerns(attributes):
            return False
        quotas = self._view.list("", "resourcequotas", attributes.namespace)
        return any(quota_usage.counted((one.get("status") or {}).get("hard") or (), attributes.kind) for one in quotas)

    def _of(self, namespace: str) -> _Ledger:
        found = self._ledgers.get(namespace)
        if found is None:
            if len(self._ledgers) >= LEDGERS_MAX:
                self._ledgers = {name: one for name, one in self._ledgers.items() if one.is_needed}
            found = self._ledgers[namespace] = _Ledger(self._view, namespace)
        return found


class _Ledger:
    """One namespace's quotas as last seen, and the queue of writes that they pay for."""

    def __init__(self, view: View, namespace: str) -> None:
        self._view = view
        self._namespace = namespace
        self._turn = asyncio.Lock()
        self._seen: dict[bytes, Entry | None] = {}
        """What a transaction has shown of quotas, until the cache shows as much."""
        self._arrivals = 0
        self._current = 0
        """Writes that had arrived when what is seen was asked for: for these it is the present, not the past."""

    @property
    def is_needed(self) -> bool:
        """Whether anybody waits, or more is known here than in the cache."""
        self._forget_shown()
        return self._turn.locked() or bool(self._seen)

    async def check(self, attributes: Attributes) -> None:
        """Refuse a write that is too much for the quotas as they are in the store."""
        try:
            charged(attributes, [entry.object() for entry in self._quotas().values()])
        except ApiError:
            await self._look()
            charged(attributes, [entry.object() for entry in self._quotas().values()])

    async def put(self, attributes: Attributes, write: Write) -> Entry:
        """Write when it is this write's turn."""
        self._arrivals += 1
        arrival = self._arrivals
        async with self._turn:
            for _ in range(ATTEMPTS_MAX):
                try:
                    changed = self._charged(attributes)
                except ApiError:
                    if arrival <= self._current:
                        raise
                    # What is seen may be from before this write came; those behind it learn with it.
                    await self._look()
                    continue
                entry = await self._attempt(changed, write)
                if entry is not None:
                    return entry
        raise status.server_timeout(attributes.resource.qualified, attributes.operation.lower())

    async def _attempt(self, changed: Mapping[bytes, tuple[Entry, bytes]], write: Write) -> Entry | None:
        """Try to write; None means that a quota was no longer what was seen of it."""
        arrivals, everything = self._arrivals, changed.keys() == self._quotas().keys()
        entry: Entry | None = None
        try:
            entry = await write(tuple(replace(key, old.revision, new) for key, (old, new) in changed.items()))
        except Unmet as unmet:
            moved = {key: kv for key, kv in unmet.found.items() if key in changed}
            self._learn(moved)
            if not moved or len(moved) < len(unmet.found):
                raise
        else:
            self._learn({key: _written(key, old, new, entry.revision) for key, (old, new) in changed.items()})
        if everything:
            # Won or lost, the transaction has compared every quota there is.
            self._current = arrivals
        return entry

    def _charged(self, attributes: Attributes) -> dict[bytes, tuple[Entry, bytes]]:
        """Return the quotas that a write changes, as they are seen and as it leaves them."""
        entries = self._quotas()
        kind = resource("", "resourcequotas")
        quotas = charged(attributes, [entry.object() for entry in entries.values()])
        keyed = ((kind.key(self._namespace, one["metadata"]["name"]), one) for one in quotas)
        return {key: (entries[key], codec.encode(one)) for key, one in keyed}

    def _quotas(self) -> dict[bytes, Entry]:
        """Return the quotas at the latest that was seen of them, by transactions or in the cache."""
        self._forget_shown()
        cached = {entry.key: entry for entry in self._view.entries("", "resourcequotas", self._namespace)}
        known = {**cached, **self._seen}
        return {key: entry for key, entry in sorted(known.items()) if entry is not None}

    def _learn(self, found: Mapping[bytes, KeyValue | None]) -> None:
        self._seen.update({key: None if kv is None else Entry.of(kv) for key, kv in found.items()})

    def _forget_shown(self) -> None:
        cache = self._view.storage.cache
        collection = cache.collection(resource("", "resourcequotas").key_prefix).entries
        for key, entry in tuple(self._seen.items()):
            cached = collection.get(key)
            shown = cached is None if entry is None else entry.revision <= cache.revision
            if shown:
                del self._seen[key]

    async def _look(self) -> None:
        """Read the quotas from the store."""
        arrivals = self._arrivals
        for key in self._quotas():
            entry = await self._view.storage.live(key)
            self._seen[key] = entry
        self._current = arrivals


def _written(key: bytes, old: Entry, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, old.create_revision, revision, 0, 0)
