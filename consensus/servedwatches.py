"""The watches of one client connection: batches as fast as the client takes them, and no faster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from oarlock.consensus.encoding import encode, encode_error
from oarlock.consensus.model import InvalidRequest, StoreError
from oarlock.consensus.watch import Watcher, WatchHub
from oarlock.consensus.wire import Kind, WatchRequest, frame

WATCHES_MAX = 20_000
"""Of one connection."""
CREDIT_MAX = 1 << 16


class _Watch:
    """A watch and how many batches its client still has room for."""

    __slots__ = ("credit", "queued", "watcher")

    def __init__(self, watcher: Watcher, credit: int) -> None:
        self.watcher = watcher
        self.credit = credit
        self.queued = False


class ServedWatches:
    """Watches by the client's ids. `on_ready` is called when one has something to `take`."""

    def __init__(self, hub: WatchHub, on_ready: Callable[[], None]) -> None:
        self._hub = hub
        self._on_ready = on_ready
        self._watches: dict[int, _Watch] = {}
        self._ready: deque[int] = deque()

    @property
    def ready(self) -> bool:
        """True while `take` has something to give."""
        return bool(self._ready)

    def open(self, watch_id: int, request: WatchRequest) -> None:
        """Begin a watch. Raises Compacted, and InvalidRequest for an id in use or one watch too many."""
        if watch_id in self._watches or len(self._watches) >= WATCHES_MAX:
            raise InvalidRequest(f"a watch id in use, or more than {WATCHES_MAX} watches")
        on_ready = partial(self._queue, watch_id)
        watcher = self._hub.watch(
            request.key, request.range_end, request.start_revision, on_ready, previous=request.previous
        )
        self._watches[watch_id] = _Watch(watcher, min(request.credit, CREDIT_MAX))
        self._queue(watch_id)

    def credit(self, watch_id: int, batches: int) -> None:
        """The client has room for more; a watch that has ended meanwhile is no error."""
        watch = self._watches.get(watch_id)
        if watch is not None:
            watch.credit = min(watch.credit + max(batches, 0), CREDIT_MAX)
            self._queue(watch_id)

    def cancel(self, watch_id: int) -> None:
        watch = self._watches.pop(watch_id, None)
        if watch is not None:
            watch.watcher.close()

    def close(self) -> None:
        """End all."""
        for watch_id in list(self._watches):
            self.cancel(watch_id)

    def take(self, bytes_max: int) -> list[bytes]:
        """Return frames to send, at most one a watch, until they exceed `bytes_max`."""
        frames: list[bytes] = []
        size = 0
        for _ in range(len(self._ready)):
            if size >= bytes_max:
                break
            watch_id = self._ready.popleft()
            watch = self._watches.get(watch_id)
            if watch is None:
                continue
            watch.queued = False
            one = self._next(watch_id, watch)
            if one:
                frames.append(one)
                size += len(one)
        return frames

    def _next(self, watch_id: int, watch: _Watch) -> bytes:
        try:
            batch = watch.watcher.take()
        except StoreError as ended:
            self.cancel(watch_id)
            return frame(Kind.ERROR, watch_id, encode_error(ended))
        if batch is None:
            return b""
        watch.credit -= 1
        self._queue(watch_id)
        return frame(Kind.BATCH, watch_id, encode(batch))

    def _queue(self, watch_id: int) -> None:
        watch = self._watches.get(watch_id)
        if watch is not None and watch.watcher.ready and not watch.queued and watch.credit > 0:
            watch.queued = True
            self._ready.append(watch_id)
            self._on_ready()
