"""The service proxy of one node: follows Services and EndpointSlices and listens where they say."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from oarlock.cluster.client.cache import Change
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.proxy import metrics, rules
from oarlock.cluster.proxy.choice import Choice
from oarlock.cluster.proxy.claim import Claim
from oarlock.cluster.proxy.rules import SERVICE_NAME, Frontend, Rule
from oarlock.cluster.proxy.settings import ProxySettings
from oarlock.cluster.proxy.tcp import TcpListener
from oarlock.cluster.proxy.udp import UdpListener

log = logging.getLogger(__name__)

BY_SERVICE = "service"


class Listener(Protocol):
    choice: Choice

    async def start(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class ServiceProxy:
    """Relays in user space, so an endpoint sees the node's address rather than the client's.

    While the API is down it goes on with what it knew last.
    """

    def __init__(self, settings: ProxySettings, *, client: ApiClient | None = None) -> None:
        self._settings = settings
        self._client = client or ApiClient(settings.client)
        self._informers = Informers(self._client)
        self._services = self._informers.cache("", "v1", "services")
        self._slices = self._informers.cache("discovery.k8s.io", "v1", "endpointslices")
        self._slices.add_index(BY_SERVICE, _service_of)
        self._claim = Claim(settings.claim_file, settings.claim_interval_s)
        self._listeners: dict[Frontend, Listener] = {}
        self._owned: dict[str, set[Frontend]] = {}
        self._dirty: set[str] = set()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Begin to follow the API; listeners come as Services and endpoints become known."""
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._informers.start()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._await_claim())]

    async def wait(self) -> None:
        """Return once the proxy is stopped; raise if its own loop has broken down."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([stopped, self._tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done() and not self._tasks[0].cancelled():
                self._tasks[0].result()
        finally:
            stopped.cancel()

    async def stop(self) -> None:
        """Listen no more and cut what is relayed. Idempotent."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._informers.stop()
        for listener in self._listeners.values():
            listener.abort()
        self._listeners.clear()
        self._claim.release()
        await self._client.close()

    def frontends(self) -> list[Frontend]:
        """Return what is listened on now."""
        return list(self._listeners)

    def _on_service(self, _: Change, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        service = new or old
        assert service is not None
        self._mark(f"{service['metadata']['namespace']}/{service['metadata']['name']}")

    def _on_slice(self, _: Change, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        for endpoint_slice in (old, new):
            for key in _service_of(endpoint_slice) if endpoint_slice is not None else ():
                self._mark(key)

    def _mark(self, key: str) -> None:
        self._dirty.add(key)
        self._news.set()

    async def _await_claim(self) -> None:
        if self._claim.held:
            return
        await self._claim.acquire()
        log.info("node=%s claim=cluster_ips", self._settings.node_name)
        for service in self._services:
            self._mark(f"{service['metadata']['namespace']}/{service['metadata']['name']}")

    async def _run(self) -> None:
        await self._informers.synced()
        while True:
            await self._news.wait()
            self._news.clear()
            dirty, self._dirty = self._dirty, set()
            failed = set()
            with metrics.SYNC_DURATION.time():
                for key in dirty:
                    if not await self._sync(key):
                        failed.add(key)
            metrics.LISTENERS.set(len(self._listeners))
            if failed:
                loop = asyncio.get_running_loop()
                loop.call_later(self._settings.bind_retry_s, self._again, failed)

    def _again(self, keys: set[str]) -> None:
        if not self._stopped.is_set():
            self._dirty |= keys
            self._news.set()

    async def _sync(self, key: str) -> bool:
        """Bring one Service's listeners to its rules; tell whether all could be bound."""
        wanted = self._rules(key)
        for frontend in self._owned.get(key, set()) - wanted.keys():
            self._listeners.pop(frontend).close()
        complete = True
        owned: set[Frontend] = set()
        for frontend, rule in wanted.items():
            known = self._listeners.get(frontend)
            if known is not None:
                known.choice.rule = rule
                owned.add(frontend)
            elif await self._listen(frontend, rule):
                owned.add(frontend)
            else:
                complete = False
        if owned:
            self._owned[key] = owned
        else:
            self._owned.pop(key, None)
        return complete

    def _rules(self, key: str) -> dict[Frontend, Rule]:
        service = self._services.get(key)
        if service is None:
            return {}
        slices = self._slices.by_index(BY_SERVICE, key)
        found = rules.build(service, slices, self._settings.node_name, self._settings.node_ip)
        return {frontend: rule for frontend, rule in found.items() if self._claim.held or not frontend.cluster}

    async def _listen(self, frontend: Frontend, rule: Rule) -> bool:
        settings = self._settings
        choice = Choice(rule, time.monotonic, settings.flows_max)
        listener: Listener
        if frontend.protocol == "TCP":
            listener = TcpListener(frontend, choice, settings.connect_timeout_s)
        else:
            listener = UdpListener(frontend, choice, settings.udp_idle_s, settings.flows_max)
        try:
            await listener.start()
        except OSError as error:
            log.warning("service=%s listen=%s:%d error=%r", rule.service, frontend.host, frontend.port, error.strerror)
            return False
        self._listeners[frontend] = listener
        return True


def _service_of(endpoint_slice: dict[str, Any]) -> list[str]:
    """Return the key of the Service that an EndpointSlice belongs to, in a list for the cache's index."""
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []
