"""The node agent: one process that is a node, or many simulated ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from oarlock.cluster.client.cache import Cache, Change
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.kubelet import machine, metrics
from oarlock.cluster.kubelet.addresses import AddressPool
from oarlock.cluster.kubelet.containers import Tools
from oarlock.cluster.kubelet.hollow import HollowRuntime
from oarlock.cluster.kubelet.network.routed import RoutedNetwork, Routes
from oarlock.cluster.kubelet.network.state import NetworkState
from oarlock.cluster.kubelet.node import NodeReporter
from oarlock.cluster.kubelet.podspec import Pod
from oarlock.cluster.kubelet.process import ProcessRuntime
from oarlock.cluster.kubelet.runtime import ContainerStatus, Runtime, State, Streams
from oarlock.cluster.kubelet.server import NodeServer
from oarlock.cluster.kubelet.settings import AgentSettings
from oarlock.cluster.kubelet.worker import Place, PodWorker

log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 2.0


class NodeAgent:
    """Runs the pods bound to its node. What runs outlives it: a new agent on the same folder adopts it all."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        runtime: Runtime | None = None,
        client: ApiClient | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._settings = settings
        self._runtime = runtime or _runtime(settings)
        self._client = client or ApiClient(settings.client)
        self._informers = Informers(self._client)
        self._recorder = Recorder(self._client, "kubelet", settings.node_name)
        self._server = NodeServer(settings.internal_ip, settings.port, settings.tls, self)
        services = None if settings.runtime == "hollow" else self._informers.cache("", "v1", "services")
        self._tools = Tools(self._runtime, self._recorder, asyncio.Semaphore(settings.starts_max), services)
        self._heartbeat = settings.heartbeat.shared_by(len(settings.node_names))
        self._nodes = {name: index for index, name in enumerate(settings.node_names)}
        self._network: RoutedNetwork | None = None
        if settings.network == "routed":
            place = (settings.node_name, settings.internal_ip)
            self._network = RoutedNetwork(*place, self._informers, self._recorder, self._on_network, routes)
        self._pools: dict[str, AddressPool] = {}
        self._places: dict[str, Place] = {}
        self._workers: dict[str, PodWorker] = {}
        self._exit_callbacks: dict[str, list[Callable[[], None]]] = {}
        self._reporters: list[NodeReporter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """The TCP port of the node's own server."""
        return self._server.port

    async def start(self) -> None:
        """Adopt what runs and begin to serve. Registration goes on in the background: the API may be down.

        Raises OSError (port), NetworkFailure where pods could never be routed; nothing is left running then.
        """
        self._settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._network is not None:
            self._network.open()
        try:
            await self._runtime.start(self._on_container)
            await self._server.start()
        except BaseException:
            await self._runtime.stop()
            self._close_network()
            raise
        allocatable = machine.capacity(self._settings.root, self._settings.pods_max)
        for name, index in self._nodes.items():
            pool = self._pools[name] = self._pool(index)
            for sandbox in self._runtime.list_pod_sandboxes():
                pool.hold(sandbox.config.uid, sandbox.config.ip)
            self._places[name] = Place(self._settings.internal_ip, allocatable, pool.take, pool.free)
        self._recorder.start()
        self._reporters = [self._reporter(name) for name in self._nodes]
        self._tasks = [asyncio.create_task(reporter.run()) for reporter in self._reporters]
        cache = self._cache()
        cache.add_handler(self._on_pod)
        self._informers.start()
        self._tasks.append(asyncio.create_task(self._remove_orphans(cache)))
        if self._network is not None:
            self._tasks.append(asyncio.create_task(self._network.run()))

    async def wait(self) -> None:
        """Return once the agent is stopped; raise if one of its own loops has broken down."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        loops = set(self._tasks)
        try:
            while not stopped.done():
                done, _ = await asyncio.wait({stopped, *loops}, return_when=asyncio.FIRST_COMPLETED)
                for task in done & loops:
                    loops.discard(task)
                    if not task.cancelled():
                        task.result()
        finally:
            stopped.cancel()

    async def wait_registered(self) -> None:
        """Return once every node of this agent stands in the API with its status."""
        await asyncio.gather(*(reporter.registered.wait() for reporter in self._reporters))

    async def stop(self, *, keep_containers: bool = True) -> None:
        """End the agent; its containers keep running unless told otherwise. Idempotent."""
        self._stopped.set()
        await self._server.stop()
        await self._informers.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_network()
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        self._workers.clear()
        if not keep_containers:
            await self.remove_containers()
        await self._recorder.stop()
        await self._runtime.stop()
        await self._client.close()

    async def remove_containers(self) -> None:
        """End and remove everything that the runtime holds."""
        await asyncio.gather(*(self._end_sandbox(s.config.uid) for s in self._runtime.list_pod_sandboxes()))

    def list_pods(self) -> Sequence[Pod]:
        return [worker.pod for worker in self._workers.values()]

    def find(self, namespace: str, name: str) -> Pod | None:
        for worker in reversed(self._workers.values()):
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker.pod
        return None

    def runs(self, namespace: str, pod: str, container: str) -> list[ContainerStatus] | None:
        found = self.find(namespace, pod)
        if found is None:
            return None
        runs = self._runtime.list_containers(found["metadata"]["uid"])
        return sorted((run for run in runs if run.name == container), key=lambda run: run.attempt)

    def address(self, uid: str) -> str:
        """Return where the pod listens; "" while it has no sandbox."""
        addresses = (sandbox.config.ip for sandbox in self._runtime.list_pod_sandboxes() if sandbox.config.uid == uid)
        return next(addresses, "")

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Streams:
        return await self._runtime.exec(container_id, command, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool) -> Streams:
        return await self._runtime.attach(container_id, stdin=stdin)

    def on_exit(self, container_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        callbacks = self._exit_callbacks.setdefault(container_id, [])
        callbacks.append(callback)

        def cancel() -> None:
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                self._exit_callbacks.pop(container_id, None)

        return cancel

    def _cache(self) -> Cache:
        """Watch the pods of this node; for simulated nodes one watch of all pods serves them all."""
        params = {}
        if len(self._nodes) == 1:
            params = {"fieldSelector": f"spec.nodeName={next(iter(self._nodes))}"}
        return self._informers.cache("", "v1", "pods", params=params)

    def _on_pod(self, change: Change, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        node = pod["spec"].get("nodeName")
        if node not in self._nodes:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if change == "DELETED":
            if worker is not None:
                worker.remove()
        elif worker is not None:
            worker.update(pod)
        else:
            self._workers[uid] = PodWorker(pod, self._client, self._tools, self._places[node], self._on_finished)
            metrics.RUNNING_PODS.set(len(self._workers))

    def _on_finished(self, uid: str) -> None:
        self._workers.pop(uid, None)
        metrics.RUNNING_PODS.set(len(self._workers))

    def _on_container(self, status: ContainerStatus) -> None:
        if status.state is State.EXITED:
            for callback in self._exit_callbacks.pop(status.id, []):
                callback()
        worker = self._workers.get(status.pod_uid)
        if worker is not None:
            worker.wake()

    async def _remove_orphans(self, cache: Cache) -> None:
        """End pods that were deleted from the API while no agent was looking."""
        await cache.synced.wait()
        known = {pod["metadata"]["uid"] for pod in cache.list()}
        orphans = [s.config.uid for s in self._runtime.list_pod_sandboxes() if s.config.uid not in known]
        await asyncio.gather(*(self._end_sandbox(uid) for uid in orphans))

    async def _end_sandbox(self, uid: str) -> None:
        runs = self._runtime.list_containers(uid)
        await asyncio.gather(*(self._runtime.stop_container(run.id, ORPHAN_GRACE_S) for run in runs))
        await self._runtime.remove_pod_sandbox(uid)
        for pool in self._pools.values():
            pool.free(uid)

    def _on_network(self) -> None:
        """The network has become ready, or is no longer: pods may wait for it, and the Node tells of it."""
        for worker in self._workers.values():
            worker.wake()
        for reporter in self._reporters:
            reporter.report_soon()

    def _close_network(self) -> None:
        if self._network is not None:
            self._network.close()

    def _reporter(self, name: str) -> NodeReporter:
        return NodeReporter(
            name,
            replace(self._settings, heartbeat=self._heartbeat),
            self._client,
            port=self._server.port,
            runtime_version=self._runtime.version,
            pod_cidr=self._pools[name].cidr,
            clock=time.time,
            network=self._network_state if self._network is not None else None,
        )

    def _network_state(self) -> NetworkState:
        assert self._network is not None
        return self._network.state

    def _pool(self, index: int) -> AddressPool:
        """A simulated node's pods get addresses that nothing answers at."""
        if self._network is not None:
            return self._network.pool
        if self._settings.runtime == "process":
            return AddressPool(f"{self._settings.pod_ip_prefix}.0/24")
        return AddressPool(f"10.{128 + (index >> 8)}.{index & 255}.0/24")


def _runtime(settings: AgentSettings) -> Runtime:
    if settings.runtime == "hollow":
        return HollowRuntime(settings.root)
    return ProcessRuntime(settings.root, allow_host_images=settings.allow_host_images)
