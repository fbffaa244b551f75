"""The balancer: accepts client connections and hands each to the healthiest, least busy API server."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress

from oarlock.cluster.balancer import metrics
from oarlock.cluster.balancer.handover import Handover
from oarlock.cluster.balancer.health import HealthCheck, client_context
from oarlock.cluster.balancer.pool import Backend, Health, Pool
from oarlock.cluster.balancer.relay import Half
from oarlock.cluster.balancer.settings import BalancerSettings

log = logging.getLogger(__name__)

BACKLOG = 1024
ACCEPTED_AT_ONCE = 64
ACCEPT_RETRY_S = 0.1
DRAIN_LOOK_S = 0.05


class Balancer:
    """Shares TCP connections among backends: what passes is not read, so TLS ends at the API servers.

    A backend of this host is given the connection itself; for one elsewhere bytes are relayed.

    A connection that a backend refuses goes to the next one before the client notices. When none takes it, it waits
    `hold_s` for one to come back, which bridges the restart of a lone API server.

    With `listeners`, sockets that others may hold too, its successor takes the connections that come while this one
    still carries those that it has: no connection is refused in between.
    """

    def __init__(
        self,
        settings: BalancerSettings,
        *,
        context: ssl.SSLContext | None = None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        self._settings = settings
        self._context = context
        self._inherited = listeners
        self._pool = Pool(settings.backends)
        self._checks: dict[Backend, HealthCheck] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._check_tasks: list[asyncio.Task[None]] = []
        self._clients: set[Half] = set()
        self._handovers: dict[Backend, Handover] = {}
        self._held = 0
        self._news = asyncio.Event()
        self._listeners: list[socket.socket] = []
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """The TCP port that is listened on; it differs from the setting where that was 0."""
        return int(self._listeners[0].getsockname()[1])

    @property
    def backends(self) -> list[Backend]:
        return self._pool.backends

    async def start(self) -> None:
        """Listen and begin checking. Raises OSError if the address is taken."""
        context = self._context or client_context(self._settings.tls)
        self._handovers = {
            backend: Handover(self._settings.handovers[backend.name], self._place)
            for backend in self._pool.backends
            if backend.name in self._settings.handovers
        }
        addresses = [(host, self._settings.port) for host in (self._settings.host, *self._settings.also)]
        for listener in self._inherited or [socket.create_server(one, backlog=BACKLOG) for one in addresses]:
            self._listen(listener)
        self._checks = {b: HealthCheck(b, self._settings, context, self._changed) for b in self._pool.backends}
        self._check_tasks = [asyncio.create_task(check.run()) for check in self._checks.values()]

    async def wait(self) -> None:
        """Return once the balancer is stopped; raise if a health check has broken down."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            done, _ = await asyncio.wait([stopped, *self._check_tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()
        finally:
            stopped.cancel()

    async def wait_ready(self) -> None:
        """Return once at least one backend is ready."""
        while all(backend.health is not Health.READY for backend in self._pool.backends):
            await self._news.wait()

    async def stop(self) -> None:
        """Take no more connections, let those that there are end as `settings` say, then cut the rest.

        What was given away is the API servers' own.
        """
        if self._listeners:
            while self._listeners:
                listener = self._listeners.pop()
                asyncio.get_running_loop().remove_reader(listener)
                listener.close()
            await self._drain()
        for task in [*self._check_tasks, *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._check_tasks, *self._tasks, return_exceptions=True)
        for client in list(self._clients):
            client.abort()
        for handover in self._handovers.values():
            handover.close()
        self._stopped.set()

    async def _drain(self) -> None:
        """Return once no client is left, or after `drain_s`."""
        loop, settings = asyncio.get_running_loop(), self._settings
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_s):
                while self._clients or self._tasks:
                    for client in list(self._clients):
                        client.end_if_quiet(loop.time() - settings.quiet_s)
                    await asyncio.sleep(DRAIN_LOOK_S)

    def _listen(self, listener: socket.socket) -> None:
        listener.settimeout(0)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._acceptable, listener)

    def _acceptable(self, listener: socket.socket) -> None:
        """Accept what is there. Out of descriptors, pause: those who wait stay in the kernel's queue."""
        try:
            for _ in range(ACCEPTED_AT_ONCE):
                client, _ = listener.accept()
                client.settimeout(0)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._place(client, whole=True)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("accept_error=%r", str(error))
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_RETRY_S, self._listen_again, listener)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._acceptable, listener)

    def _place(self, client: socket.socket, *, whole: bool = False) -> None:
        """Find a backend for a client; only a `whole` connection may be given away. One that came back is relayed."""
        task = asyncio.get_running_loop().create_task(self._connect(client, whole=whole))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: socket.socket, *, whole: bool) -> None:
        """Give a client to a backend, or close its connection."""
        try:
            if not await self._placed(client, whole=whole):
                metrics.REFUSED_TOTAL.inc()
                _abort(client)
        except asyncio.CancelledError:
            _abort(client)
            raise

    async def _placed(self, client: socket.socket, *, whole: bool) -> bool:
        deadline = asyncio.get_running_loop().time() + self._settings.hold_s
        while not await self._try_all(client, whole=whole):
            if self._held >= self._settings.held_max:
                return False
            self._held += 1
            metrics.HELD.set(self._held)
            try:
                if not await self._news_before(deadline):
                    return False
            finally:
                self._held -= 1
                metrics.HELD.set(self._held)
        return True

    async def _try_all(self, client: socket.socket, *, whole: bool) -> bool:
        """Give the client to the first backend that takes it; tell whether one did."""
        for backend in self._pool.candidates():
            if whole and self._give(client, backend):
                return True
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    _, server = await asyncio.get_running_loop().create_connection(Half, *backend.address)
            except (OSError, TimeoutError) as error:
                metrics.CONNECT_ERRORS_TOTAL.labels(backend.name).inc()
                log.debug("backend=%s connect_error=%r", backend.name, str(error))
                self._checks[backend].now()
                continue
            await self._relay(client, server, backend)
            return True
        return False

    def _give(self, client: socket.socket, backend: Backend) -> bool:
        """Give the connection itself to a backend of this host, if there is a way to."""
        handover = self._handovers.get(backend)
        if handover is None:
            return False
        try:
            backend.attach(client, handover.give(client, lambda: backend.detach(client)))
        except OSError as error:
            log.debug("backend=%s handover_error=%r", backend.name, str(error))
            return False
        return True

    async def _relay(self, client: socket.socket, server: Half, backend: Backend) -> None:
        try:
            _, half = await asyncio.get_running_loop().connect_accepted_socket(Half, client)
        except OSError:  # it has gone
            server.abort()
            client.close()
            return
        self._join(half, server, backend)

    def _join(self, client: Half, server: Half, backend: Backend) -> None:
        def cut() -> None:
            client.abort()
            server.abort()

        def client_ended(_: BaseException | None) -> None:
            self._clients.discard(client)
            backend.detach(client)

        def server_ended(error: BaseException | None) -> None:
            if error is not None:
                self._checks[backend].now()

        self._clients.add(client)
        backend.attach(client, cut)
        client.join(server, client_ended)
        server.join(client, server_ended)

    def _changed(self, _: Backend) -> None:
        self._pool.cut_lost()
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for news of backends."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _news_before(self, deadline: float) -> bool:
        """Wait for news and tell whether any came before the loop's clock reached `deadline`."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


def _abort(client: socket.socket) -> None:
    """Close a connection as broken: the client must not take it for an orderly end."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
