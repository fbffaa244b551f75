"""The network of a node whose pods are reached from other hosts: its routes follow Nodes and ServiceCIDRs.

A node without a range of pod addresses, or whose range can't be routed, is not ready and starts no pods of its own
network; what keeps another node's pods from being reached is told in an Event about that node and harms no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.kubelet import metrics
from oarlock.cluster.kubelet.addresses import AddressPool
from oarlock.cluster.kubelet.network.iproute import IpRoute, NetworkFailure
from oarlock.cluster.kubelet.network.plan import Host, Plan, Route, difference, obstacle, plan, relevant
from oarlock.cluster.kubelet.network.state import NetworkState

log = logging.getLogger(__name__)

RESYNC_S = 10.0
"""How soon routes that somebody else removed are set again."""
_WAITING = "no range of pod addresses was given to the node yet"


class Routes(Protocol):
    """What is asked of the host; see `IpRoute`."""

    def open(self, ip: str) -> None: ...

    def close(self) -> None: ...

    def ours(self) -> list[Route]: ...

    def host(self) -> Host: ...

    def add(self, route: Route) -> None: ...

    def remove(self, route: Route) -> None: ...


class RoutedNetwork:
    """Keeps the routes of one node's host and gives `pool` its range. `changed` is called when `state` is another."""

    def __init__(
        self,
        name: str,
        ip: str,
        informers: Informers,
        recorder: Recorder,
        changed: Callable[[], None],
        routes: Routes | None = None,
    ) -> None:
        self._name, self._ip = name, ip
        self._nodes = informers.cache("", "v1", "nodes")
        self._service_cidrs = informers.cache("networking.k8s.io", "v1", "servicecidrs")
        self._recorder, self._changed = recorder, changed
        self._routes = routes or IpRoute()
        self._news = asyncio.Event()
        self._told: dict[str, str] = {}
        self.state = NetworkState("NoPodCIDR", _WAITING)
        self.pool = AddressPool()

    def open(self) -> None:
        """Begin to follow what is wanted. Raises NetworkFailure where nothing could ever be done about it."""
        self._routes.open(self._ip)
        self._nodes.add_handler(self._on_node)
        self._service_cidrs.add_handler(lambda *_: self._news.set())

    def close(self) -> None:
        """Let another agent take over. The routes stay, for the pods do."""
        self._routes.close()

    async def run(self) -> None:
        """Keep the routes until cancelled. What goes wrong is told, and tried again."""
        await self._nodes.synced.wait()
        await self._service_cidrs.synced.wait()
        while True:
            self._news.clear()
            try:
                self._tell(await self._bring())
            except NetworkFailure as failure:
                self._tell(NetworkState("NoRouteCreated", str(failure)))
            try:
                async with asyncio.timeout(RESYNC_S):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _on_node(self, _: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if relevant(old) != relevant(new):
            self._news.set()

    async def _bring(self) -> NetworkState:
        """Make the routes what they should be; return how that leaves this node."""
        wanted = plan(self._name, self._ip, self._nodes.list(), self._service_cidrs.list())
        troubles = await asyncio.to_thread(self._set, wanted)
        metrics.ROUTES.set(len(wanted.routes) - len(troubles))
        self._tell_of_others(wanted, troubles)
        if not wanted.own:
            return NetworkState("NoPodCIDR", _WAITING)
        if wanted.own != self.pool.cidr:
            self.pool.assign(wanted.own)
        if self._name in wanted.conflicts:
            return NetworkState("PodCIDRConflict", wanted.conflicts[self._name])
        own = [trouble for route, trouble in troubles.items() if not wanted.routes[route]]
        return NetworkState("NoRouteCreated", own[0]) if own else NetworkState()

    def _set(self, wanted: Plan) -> dict[Route, str]:
        """Remove and add routes; return what stands in the way of which. Blocks."""
        present, host = self._routes.ours(), self._routes.host()
        troubles = {route: why for route in wanted.routes if (why := obstacle(route, host))}
        leaving, coming = difference(present, [route for route in wanted.routes if route not in troubles])
        # Pods of an earlier time may be running while their node is not known again yet.
        for route in leaving if wanted.own else _elsewhere(leaving, coming):
            self._routes.remove(route)
            log.info("route=%s via=%s removed", route.destination, route.via or "local")
        for route in coming:
            try:
                self._routes.add(route)
                log.info("route=%s via=%s added", route.destination, route.via or "local")
            except NetworkFailure as failure:
                troubles[route] = str(failure)
        return troubles

    def _tell_of_others(self, wanted: Plan, troubles: Mapping[Route, str]) -> None:
        """Record once what keeps another node's pods from being reached from here."""
        found = {wanted.routes[route]: why for route, why in troubles.items() if wanted.routes[route]}
        found |= {name: why for name, why in wanted.conflicts.items() if name != self._name}
        for name, why in found.items():
            node = self._nodes.get(name)
            if self._told.get(name) != why and node is not None:
                log.warning("node=%s unreachable=%r", name, why)
                message = f"Could not create the route from node {self._name}: {why}"
                self._recorder.record(node, "Warning", "FailedToCreateRoute", message)
        self._told = found

    def _tell(self, state: NetworkState) -> None:
        self.pool.refusal = state.message
        if state == self.state:
            return
        level = logging.INFO if state.is_ready else logging.WARNING
        log.log(level, "node=%s network=%s", self._name, state.message or "ready")
        self.state = state
        self._changed()


def _elsewhere(leaving: Collection[Route], coming: Collection[Route]) -> list[Route]:
    """Return those of the leaving routes whose place another one takes."""
    taken = {route.destination for route in coming}
    return [route for route in leaving if route.destination in taken]
