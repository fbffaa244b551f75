"""The balancer: accepts client connections and hands each to the healthiest, least busy API server."""

from __future__ import annotations

import asyncio
import logging
import ssl

from oarlock.cluster.balancer import metrics
from oarlock.cluster.balancer.health import HealthCheck, client_context
from oarlock.cluster.balancer.pool import Backend, Health, Pool
from oarlock.cluster.balancer.relay import Half
from oarlock.cluster.balancer.settings import BalancerSettings

log = logging.getLogger(__name__)


class Balancer:
    """Shares TCP connections among backends: what passes is not read, so TLS ends at the API servers.

    A connection that a backend refuses goes to the next one before the client notices. When none takes it, it waits
    `hold_s` for one to come back, which bridges the restart of a lone API server.
    """

    def __init__(self, settings: BalancerSettings, *, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._context = context
        self._pool = Pool(settings.backends)
        self._checks: dict[Backend, HealthCheck] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._check_tasks: list[asyncio.Task[None]] = []
        self._clients: set[Half] = set()
        self._held = 0
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """The TCP port that is listened on; it differs from the setting where that was 0."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def backends(self) -> list[Backend]:
        return self._pool.backends

    async def start(self) -> None:
        """Listen and begin checking. Raises OSError if the address is taken."""
        context = self._context or client_context(self._settings.tls)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Half(self._accept), self._settings.host, self._settings.port, backlog=1024
        )
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
        """Take no more connections, give open ones `drain_s` to end, then cut them."""
        self._stopped.set()
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in [*self._check_tasks, *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._check_tasks, *self._tasks, return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + self._settings.drain_s
        while self._clients and await self._news_before(deadline):
            pass
        for client in list(self._clients):
            client.abort()

    def _accept(self, client: Half) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: Half) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.hold_s
        try:
            while not client.lost:
                if await self._try_all(client):
                    return
                if self._held >= self._settings.held_max:
                    break
                self._held += 1
                metrics.HELD.set(self._held)
                try:
                    if not await self._news_before(deadline):
                        break
                finally:
                    self._held -= 1
                    metrics.HELD.set(self._held)
            metrics.REFUSED_TOTAL.inc()
            client.abort()
        except asyncio.CancelledError:
            client.abort()
            raise

    async def _try_all(self, client: Half) -> bool:
        """Join the client to the first backend that takes it; tell whether one did."""
        for backend in self._pool.candidates():
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    _, server = await asyncio.get_running_loop().create_connection(Half, *backend.address)
            except (OSError, TimeoutError) as error:
                metrics.CONNECT_ERRORS_TOTAL.labels(backend.name).inc()
                log.debug("backend=%s connect_error=%r", backend.name, str(error))
                self._checks[backend].now()
                continue
            if client.lost:
                server.abort()
                return True
            self._join(client, server, backend)
            return True
        return False

    def _join(self, client: Half, server: Half, backend: Backend) -> None:
        def cut() -> None:
            client.abort()
            server.abort()

        def client_ended(_: BaseException | None) -> None:
            self._clients.discard(client)
            backend.detach(client)
            if self._stopped.is_set():
                self._tell()

        def server_ended(error: BaseException | None) -> None:
            if error is not None:
                self._checks[backend].now()

        self._clients.add(client)
        backend.attach(client, cut)
        client.join(server, client_ended)
        server.join(client, server_ended)

    def _changed(self, _: Backend) -> None:
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for news of backends or connections."""
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
