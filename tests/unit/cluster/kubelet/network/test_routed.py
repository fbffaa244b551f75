"""An agent on a routed network, on a host whose routes are a set, against an API in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.client import ClientSettings
from oarlock.cluster.kubelet.agent import NodeAgent
from oarlock.cluster.kubelet.network.iproute import NetworkFailure
from oarlock.cluster.kubelet.network.plan import Host, Route
from oarlock.cluster.kubelet.process import kill_all
from oarlock.cluster.kubelet.settings import AgentSettings, Tls

Object = dict[str, Any]
NODE = "/api/v1/nodes/n1"
POD, SECOND, THIRD = (f"/api/v1/namespaces/default/pods/{name}" for name in ("web", "two", "three"))
HERE = "127.0.0.1"
RANGE = "127.42.1.0/24"
OWN = Route(RANGE, "", HERE)


class Kernel:
    """A host's routes. Those in `refused` can't be set."""

    def __init__(self) -> None:
        self.routes: set[Route] = set()
        self.refused: dict[Route, str] = {}
        self.unfit = ""
        self.here = Host()

    def open(self, _: str) -> None:
        if self.unfit:
            raise NetworkFailure(self.unfit)

    def close(self) -> None:
        """Nothing is held."""

    def ours(self) -> list[Route]:
        return list(self.routes)

    def host(self) -> Host:
        return self.here

    def add(self, route: Route) -> None:
        if route in self.refused:
            raise NetworkFailure(self.refused[route])
        assert route.destination not in {one.destination for one in self.routes}, "File exists"
        self.routes.add(route)

    def remove(self, route: Route) -> None:
        self.routes.discard(route)


class Rig:
    def __init__(self, api: Any, root: Path, certificates: Any) -> None:
        self.api, self.kernel = api, Kernel()
        tls = Tls(certificates.ca, certificates.cert, certificates.key)
        self._settings = AgentSettings(
            "n1", HERE, "", tls, ClientSettings("http://x"), root, 0, allow_host_images=True, network="routed"
        )
        self.agent: NodeAgent

    @contextlib.asynccontextmanager
    async def agent_running(self) -> AsyncIterator[None]:
        self.agent = NodeAgent(self._settings, client=self.api, routes=self.kernel)
        await self.agent.start()
        try:
            yield
        finally:
            await self.agent.stop()

    async def give_range(self, name: str = "n1", cidr: str = RANGE) -> None:
        path = f"/api/v1/nodes/{name}"
        await self.api.until(path, lambda o: o is not None)
        await self.api.patch(path, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})

    async def other(self, name: str, ip: str, cidr: str) -> None:
        status = {"addresses": [{"type": "InternalIP", "address": ip}]}
        metadata = {"name": name, "creationTimestamp": "2026-01-02T00:00:00Z"}
        made = {"kind": "Node", "metadata": metadata, "spec": {"podCIDRs": [cidr]}, "status": status}
        self.api.put(f"/api/v1/nodes/{name}", {"apiVersion": "v1", **made})

    async def condition(self, kind: str, truth: str, words: str = "") -> Object:
        def holds(obj: Object | None) -> bool:
            return truth == found(obj).get("status") and words in found(obj).get("message", "")

        def found(obj: Object | None) -> Object:
            held = ((obj or {}).get("status") or {}).get("conditions") or []
            return next((one for one in held if one["type"] == kind), {})

        return found(await self.api.until(NODE, holds))


@pytest.fixture
def play(api: Any, root: Path, certificates: Any) -> Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]:
    def run(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            try:
                async with asyncio.timeout(30):
                    await scenario(Rig(api, root, certificates))
            finally:
                kill_all(root, 0.1)

        asyncio.run(inside())

    return run


async def until(holds: Callable[[], bool]) -> None:
    """Return once something that another thread does has happened."""
    while not holds():  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)


def pod(name: str = "web") -> Object:
    container = {"name": "c", "image": "host/sh", "command": ["/bin/sh", "-c", "exec sleep 600"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1},
        "spec": {"nodeName": "n1", "containers": [container], "terminationGracePeriodSeconds": 1},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def running(obj: Object | None) -> bool:
    return ((obj or {}).get("status") or {}).get("phase") == "Running"


def restarted(obj: Object | None) -> bool:
    found = ((obj or {}).get("status") or {}).get("containerStatuses") or [{}]
    return found[0].get("restartCount") == 1 and "running" in found[0]["state"]


def test_a_node_is_ready_and_its_pods_start_once_it_has_a_range(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        async with rig.agent_running():
            unready = await rig.condition("Ready", "False", "no range of pod addresses")
            assert unready["reason"] == "KubeletNotReady"
            assert (await rig.condition("NetworkUnavailable", "True"))["reason"] == "NoPodCIDR"
            assert "podCIDR" not in rig.api.objects[NODE]["spec"]
            rig.api.put(POD, pod())
            await rig.api.told(lambda told: "NetworkNotReady" in {reason for reason, _ in told})
            await rig.give_range()
            await rig.condition("Ready", "True")
            assert (await rig.condition("NetworkUnavailable", "False"))["reason"] == "RouteCreated"
            made = await rig.api.until(POD, running)
            assert made["status"]["podIP"] == "127.42.1.2"
            assert made["status"]["hostIP"] == HERE
            assert OWN in rig.kernel.routes

    play(scenario)


def test_pods_keep_their_addresses_and_routes_while_no_agent_is_there(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        async with rig.agent_running():
            await rig.give_range()
            rig.api.put(POD, pod())
            first = await rig.api.until(POD, running)
            rig.api.put(SECOND, pod("two"))
            before = await rig.api.until(SECOND, running)
        assert OWN in rig.kernel.routes, "containers outlive the agent, and so do their routes"
        rig.api.drop(POD)
        async with rig.agent_running():
            await rig.condition("Ready", "True")
            rig.api.put(THIRD, pod("three"))
            third = await rig.api.until(THIRD, running)
            after = rig.api.objects[SECOND]["status"]
            addresses = [one["status"]["podIP"] for one in (first, before, third)]
            assert len({*addresses[:2]}) == 2
            assert addresses[2] != after["podIP"] == addresses[1]
            assert after["containerStatuses"][0]["restartCount"] == 0

    play(scenario)


def test_pods_of_a_node_that_was_given_another_range_start_anew_with_new_addresses(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        async with rig.agent_running():
            await rig.give_range()
            rig.api.put(POD, pod())
            await rig.api.until(POD, running)
            rig.api.drop(NODE)
            await rig.give_range(cidr="127.42.7.0/24")
            made = await rig.api.until(POD, lambda o: (o or {})["status"]["podIP"] == "127.42.7.2" and restarted(o))
            assert made["status"]["phase"] == "Running"
            assert rig.kernel.routes == {Route("127.42.7.0/24", "", HERE)}

    play(scenario)


def test_routes_follow_the_other_nodes_and_leftovers_go(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stale = Route("127.42.9.0/24", "10.0.0.9", HERE)
        rig.kernel.routes = {stale, Route("127.42.2.0/24", "10.0.0.7", HERE)}
        await rig.other("n2", "10.0.0.2", "127.42.2.0/24")
        async with rig.agent_running():
            await rig.condition("NetworkUnavailable", "True")
            await until(lambda: Route("127.42.2.0/24", "10.0.0.2", HERE) in rig.kernel.routes)
            assert stale in rig.kernel.routes, "an earlier self's routes stay until this one knows its range"
            await rig.give_range()
            await rig.condition("Ready", "True")
            assert rig.kernel.routes == {OWN, Route("127.42.2.0/24", "10.0.0.2", HERE)}
            rig.api.drop("/api/v1/nodes/n2")
            await until(lambda: rig.kernel.routes == {OWN})

    play(scenario)


def test_a_node_whose_range_is_in_use_is_not_ready_and_another_one_is_told_of(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        far = Route("127.42.2.0/24", "192.168.9.9", HERE)
        rig.kernel.refused[far] = "192.168.9.9 is in no network that this host is connected to"
        rig.kernel.here = Host({"127.42.1.1": "cni0"})
        await rig.other("far", "192.168.9.9", "127.42.2.0/24")
        async with rig.agent_running():
            await rig.give_range()
            await rig.condition("NetworkUnavailable", "True", "this host's own address 127.42.1.1 (cni0)")
            words = f"Could not create the route from node n1: {rig.kernel.refused[far]}"
            await rig.api.told(lambda told: ("FailedToCreateRoute", words) in told)
            rig.kernel.here = Host()
            await rig.other("third", "10.0.0.3", "127.42.3.0/24")
            await rig.condition("Ready", "True")
            assert far not in rig.kernel.routes
            assert Route("127.42.3.0/24", "10.0.0.3", HERE) in rig.kernel.routes

    play(scenario)


def test_an_agent_that_could_never_route_does_not_start(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        rig.kernel.unfit = "the routed network needs the capability CAP_NET_ADMIN"
        with pytest.raises(NetworkFailure, match="CAP_NET_ADMIN"):
            async with rig.agent_running():
                raise AssertionError
        rig.kernel.unfit = ""
        async with rig.agent_running():
            await rig.condition("NetworkUnavailable", "True")

    play(scenario)
