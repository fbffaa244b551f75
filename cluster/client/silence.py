"""Notices a server that answers no more although its connections stand, and lets go of it.

Nothing else would: the kernel of a process that hangs goes on acknowledging, and a watch expects nothing at any time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.servers import Servers

State = Literal["ready", "draining", "not ready"]
"""What a server's /readyz says; a draining one still finishes what it has begun."""
Ask = Callable[[str], Awaitable[State]]
"""Returns a server's state. Raises Unreachable when no answer comes in `SILENCE_S`."""

DOUBT_S: Final = 1.0
"""A request without an answer for so long raises doubts; a doubted server that leaves /readyz unanswered is left."""
PATIENCE_MIN_S: Final = 0.2
"""Who gives a request up sooner says nothing of the server by that."""
SILENCE_S: Final = 5.0
"""A doubted server that leaves /readyz unanswered for so long loses what goes on there."""

_log = logging.getLogger(__name__)


class Doubts:
    """Asks servers that were doubted how they are. Needed only where there is another server to go to.

    Each call brings its own `ask`: to keep one would tie a client to itself, for the garbage collector to part.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._cuts: dict[object, tuple[str, Callable[[], None]]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def close(self) -> None:
        """Ask no more. Idempotent."""
        for task in self._asking.values():
            task.cancel()

    @contextmanager
    def going_on(self, server: str, cut: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, have `cut` called if `server` turns out to be lost."""
        key = object()
        self._cuts[key] = server, cut
        try:
            yield
        finally:
            del self._cuts[key]

    @contextmanager
    def waiting(self, server: str, ask: Ask) -> Iterator[None]:
        """Doubt `server` once the block has lasted for long.

        Where its caller gives up before that, as who renews a lease must, the next request goes elsewhere.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = loop.call_later(DOUBT_S, self.doubt, server, ask)
        try:
            yield
        except asyncio.CancelledError:
            if loop.time() - began >= PATIENCE_MIN_S:
                self._servers.failed(server)
                self.doubt(server, ask)
            raise
        finally:
            timer.cancel()

    def doubt(self, server: str, ask: Ask) -> None:
        """Find out, once at a time, whether `server` is still of use; new requests go elsewhere if it isn't."""
        if len(self._servers) > 1 and server not in self._asking:
            asking = asyncio.get_running_loop().create_task(self._judge(server, ask))
            self._asking[server] = asking
            asking.add_done_callback(lambda _: self._asking.pop(server))

    async def _judge(self, server: str, ask: Ask) -> None:
        answer = asyncio.ensure_future(ask(server))
        try:
            await asyncio.wait({answer}, timeout=DOUBT_S)
            if not answer.done():
                self._servers.failed(server)
            state = await answer
        except Unreachable:
            state = "not ready"
        finally:
            answer.cancel()
        if state != "ready":
            self._servers.failed(server)
        if state == "not ready":
            cuts = [cut for where, cut in self._cuts.values() if where == server]
            _log.warning("server=%s is lost, ended=%d", server, len(cuts))
            for cut in cuts:
                cut()
