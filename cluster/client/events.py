"""Record Kubernetes Events without waiting for them; repeated ones raise a count instead of a new object.

Source: k8s.io/client-go/tools/record, whose limits these are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.status import ApiError

_WAIT_S = 0.1
"""An Event is nobody's next step; written at once, it would take the server's time from the write that is."""
_QUEUE_MAX = 1000
_REMEMBERED_MAX = 4096
_SIMILAR_MAX, _SIMILAR_WINDOW_S = 10, 600.0
_BURST, _REFILL_S = 25, 300.0
_NOT_FOUND = 404

_DROPPED = Counter("oarlock_events_dropped", "Events that were not recorded, by cause", ["cause"])
_log = logging.getLogger(__name__)


@dataclass
class _Similar:
    """Messages of one reason on one object, seen lately."""

    since: float
    messages: set[str] = field(default_factory=set)


@dataclass
class _Budget:
    """What one object may still say: `_BURST` at once, one more every `_REFILL_S`."""

    tokens: float
    at: float


@dataclass
class _Recorded:
    path: str
    count: int


class Recorder:
    """Writes Events named as coming from `component`; `record()` never blocks and never raises.

    The writer runs between `start()` and `stop()` and lets what was recorded wait for `_WAIT_S`; at most `_QUEUE_MAX`
    Events wait, more are dropped and counted.
    """

    def __init__(
        self,
        client: ApiClient,
        component: str,
        host: str = "",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._component, self._host, self._clock = client, component, host, clock
        self._queue: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue(_QUEUE_MAX)
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._recorded: OrderedDict[tuple[str, ...], _Recorded] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._last_ns = 0

    def start(self) -> None:
        """Begin to write. Needs a running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def stop(self) -> None:
        """Stop writing; what still waits is dropped. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def record(
        self, on: Mapping[str, Any], kind: str, reason: str, message: str, *, component: str | None = None
    ) -> None:
        """Tell that `reason` happened to the object `on` (with `kind` and `apiVersion`); `kind` is Normal or Warning.

        `on` may also be an ObjectReference. `component` replaces the recorder's own name as the source.
        """
        event = self._event(_reference(on), kind, reason, message, component or self._component)
        if not self._within_budget(event):
            _DROPPED.labels("budget").inc()
            return
        try:
            self._queue.put_nowait((time.monotonic() + _WAIT_S, event))
        except asyncio.QueueFull:
            _DROPPED.labels("queue").inc()

    def _event(self, reference: dict[str, Any], kind: str, reason: str, message: str, component: str) -> dict[str, Any]:
        now = self._clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = reference.get("namespace") or "default"
        # Names hold the time, as upstream's do, and must differ even within one tick of the clock.
        self._last_ns = max(self._last_ns + 1, int(now * 1e9))
        source = {"component": component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{reference['name']}.{self._last_ns:x}", "namespace": namespace},
            "involvedObject": reference,
            "reason": reason,
            "message": self._aggregated(reference, kind, reason, message, component, now),
            "type": kind,
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "reportingComponent": component,
            "reportingInstance": self._host,
        }

    def _aggregated(
        self, reference: Mapping[str, Any], kind: str, reason: str, message: str, component: str, now: float
    ) -> str:
        """Return `message`, or the words that stand for all once too many different ones came for one reason."""
        key = (component, reference.get("uid", ""), reference["name"], kind, reason)
        similar = self._similar.get(key)
        if similar is None or now - similar.since > _SIMILAR_WINDOW_S:
            similar = self._similar[key] = _Similar(now)
        _touch(self._similar, key)
        if len(similar.messages) < _SIMILAR_MAX:
            similar.messages.add(message)
        return message if message in similar.messages else f"(combined from similar events): {message}"

    def _within_budget(self, event: Mapping[str, Any]) -> bool:
        on = event["involvedObject"]
        key = f"{event['source']['component']}/{on.get('kind')}/{on.get('namespace')}/{on['name']}/{on.get('uid')}"
        now = self._clock()
        budget = self._budgets.setdefault(key, _Budget(_BURST, now))
        _touch(self._budgets, key)
        budget.tokens = min(_BURST, budget.tokens + (now - budget.at) / _REFILL_S)
        budget.at = now
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True

    async def _write_all(self) -> None:
        while True:
            due, event = await self._queue.get()
            await asyncio.sleep(due - time.monotonic())
            try:
                await self._write(event)
            except (ApiError, Unreachable) as error:
                _DROPPED.labels("refused").inc()
                _log.debug("event not recorded reason=%s error=%r", event["reason"], str(error))

    async def _write(self, event: dict[str, Any]) -> None:
        on = event["involvedObject"]
        words = "(combined)" if event["message"].startswith("(combined") else event["message"]
        key = (event["source"]["component"], on.get("uid", ""), on["name"], event["type"], event["reason"], words)
        known = self._recorded.get(key)
        if known is not None:
            change = {"count": known.count + 1, "lastTimestamp": event["lastTimestamp"], "message": event["message"]}
            try:
                await self._client.patch(known.path, change)
            except ApiError as error:
                if error.code != _NOT_FOUND:
                    raise
                event["count"] = known.count + 1  # expired meanwhile: made anew below
            else:
                known.count += 1
                _touch(self._recorded, key)
                return
        collection = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        await self._client.create(collection, event)
        self._recorded[key] = _Recorded(f"{collection}/{event['metadata']['name']}", event["count"])
        _touch(self._recorded, key)


def _reference(on: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ObjectReference of an object; a reference is returned as it is."""
    metadata = on.get("metadata")
    if metadata is None:
        return dict(on)
    found = {
        "kind": on.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "apiVersion": on.get("apiVersion"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {name: value for name, value in found.items() if value}


def _touch(remembered: OrderedDict[Any, Any], key: object) -> None:
    """Make `key` the most recently used one and forget the oldest beyond the bound."""
    remembered.move_to_end(key)
    if len(remembered) > _REMEMBERED_MAX:
        remembered.popitem(last=False)
