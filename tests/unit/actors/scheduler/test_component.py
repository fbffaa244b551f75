"""The scheduler against a real API server: what people and controllers see of its decisions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from harness.apiserver import start_api_server
from harness.scheduling import claim_object, claiming, node_object, pod_object, volume_object

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.hosting import host_of
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

PODS = "/api/v1/namespaces/default/pods"
DOTTED = "oarlock.actors.scheduler.component:create"
Object = dict[str, Any]


class Cluster:
    """What the tests do to a cluster and read from it."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client

    async def node(self, name: str, **words: Any) -> None:
        obj = node_object(name, **words)
        await self.client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **obj})
        taints = {"spec": {"taints": words.get("taints")}}
        await self.client.patch(f"/api/v1/nodes/{name}", taints)
        await self.client.patch(f"/api/v1/nodes/{name}/status", {"status": obj["status"]})

    async def pod(self, name: str, **words: Any) -> None:
        obj = pod_object(name, **{"terminationGracePeriodSeconds": 0, **words})
        del obj["metadata"]["uid"]
        obj["spec"]["automountServiceAccountToken"] = False
        await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **obj})

    async def priority(self, name: str, value: int, policy: str = "PreemptLowerPriority") -> None:
        await self.client.create(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {"metadata": {"name": name}, "value": value, "preemptionPolicy": policy},
        )

    async def get(self, name: str) -> Object | None:
        try:
            return await self.client.get(f"{PODS}/{name}")
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def is_on(self, name: str, node: str) -> bool:
        pod = await self.get(name)
        return pod is not None and pod["spec"].get("nodeName") == node

    async def says(self, name: str, message: str) -> bool:
        """Whether the pod's PodScheduled condition has this text in it."""
        pod = await self.get(name) or {}
        conditions = pod.get("status", {}).get("conditions") or []
        return any(one["type"] == "PodScheduled" and message in one.get("message", "") for one in conditions)

    async def events(self, reason: str) -> list[str]:
        found = await self.client.list("/api/v1/namespaces/default/events")
        return [one["message"] for one in found["items"] if one["reason"] == reason]


@asynccontextmanager
async def scheduled(folder: Path, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster without nodes, a scheduler at work in it."""
    async with start_api_server(folder, disabled_plugins=("ServiceAccount",)) as api:
        admin = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
        copy = host_of(DOTTED, ComponentContext(admin, "scheduler-a", "scheduler", 10_000, settings))
        async with ApiClient(admin) as client:
            await copy.start()
            try:
                yield Cluster(client)
            finally:
                await copy.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        for pause_s in itertools.repeat(0.05):
            if await condition():
                return
            await asyncio.sleep(pause_s)


def test_a_more_important_pod_takes_the_place_of_a_lesser_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with scheduled(tmp_path) as cluster:
            await cluster.priority("high", 1000)
            await cluster.node("n0", cpu="2")
            await cluster.pod("lesser", cpu="2")
            await until(lambda: cluster.is_on("lesser", "n0"))
            await cluster.pod("greater", cpu="2", priorityClassName="high")
            await until(lambda: cluster.is_on("greater", "n0"))
            assert await cluster.get("lesser") is None

            async def told() -> bool:
                greater = await cluster.get("greater")
                assert greater is not None
                return await cluster.events("Preempted") == [
                    f"Preempted by pod {greater['metadata']['uid']} on node n0"
                ]

            async def refused() -> bool:
                words = "0/1 nodes are available: 1 Insufficient cpu."
                return await cluster.events("FailedScheduling") == [words]

            await until(told)
            await until(refused)

    asyncio.run(story())


def test_room_is_kept_while_a_victim_takes_its_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with scheduled(tmp_path) as cluster:
            await cluster.priority("high", 1000)
            await cluster.node("n0", cpu="2")
            await cluster.pod("slow", cpu="2", terminationGracePeriodSeconds=600)
            await until(lambda: cluster.is_on("slow", "n0"))
            await cluster.pod("greater", cpu="1", priorityClassName="high")

            async def nominated() -> bool:
                pod = await cluster.get("greater") or {}
                slow = await cluster.get("slow") or {}
                return pod["status"].get("nominatedNodeName") == "n0" and "deletionTimestamp" in slow["metadata"]

            await until(nominated)
            slow = await cluster.get("slow") or {}
            conditions = {one["type"]: one for one in slow["status"]["conditions"]}
            assert conditions["DisruptionTarget"]["reason"] == "PreemptionByScheduler"
            await cluster.pod("lesser", cpu="2")
            await until(lambda: cluster.says("lesser", "0/1 nodes are available: 1 Insufficient cpu."))
            await cluster.client.delete(f"{PODS}/slow", {"gracePeriodSeconds": 0})
            await until(lambda: cluster.is_on("greater", "n0"))
            assert not await cluster.is_on("lesser", "n0")

    asyncio.run(story())


def test_a_pod_gets_its_volume_before_its_node(tmp_path: Path) -> None:
    async def story() -> None:
        async with scheduled(tmp_path) as cluster:
            for zone in ("a", "b"):
                await cluster.node(f"n-{zone}", labels={"zone": zone})
            await cluster.client.create(
                "/apis/storage.k8s.io/v1/storageclasses",
                {
                    "metadata": {"name": "late"},
                    "provisioner": "kubernetes.io/no-provisioner",
                    "volumeBindingMode": "WaitForFirstConsumer",
                },
            )
            volume = volume_object("v", class_name="late", zone="b")
            await cluster.client.create("/api/v1/persistentvolumes", volume)
            await cluster.client.patch("/api/v1/persistentvolumes/v/status", {"status": {"phase": "Available"}})
            claim = claim_object("c", class_name="late")
            for name in ("uid", "annotations"):
                del claim["metadata"][name]
            claims = "/api/v1/namespaces/default/persistentvolumeclaims"
            await cluster.client.create(claims, claim)
            await cluster.pod("p", volumes=claiming("c"))

            async def kept() -> bool:
                found = await cluster.client.get("/api/v1/persistentvolumes/v")
                return found["spec"].get("claimRef", {}).get("name") == "c"

            await until(kept)
            assert not await cluster.is_on("p", "n-b"), "the volume controller has not spoken yet"
            waiting = await cluster.get("p") or {}
            assert waiting["status"]["nominatedNodeName"] == "n-b", "others are told where it will be"
            await cluster.client.patch(
                f"{claims}/c",
                {
                    "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                    "spec": {"volumeName": "v"},
                },
            )
            await until(lambda: cluster.is_on("p", "n-b"))
            bound = await cluster.get("p") or {}
            assert "nominatedNodeName" not in bound["status"]

    asyncio.run(story())


def test_requests_that_nobody_can_meet_hold_nobody_up(tmp_path: Path) -> None:
    """The most important pods ask for more than there can be, and their owners hear of it."""
    terms = [{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["9"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    absurd: dict[str, tuple[str, Object]] = {
        "huge": ("Insufficient cpu", {"cpu": "9E"}),
        "endless": ("Insufficient memory", {"memory": "9223372036854775807"}),
        "choosy": ("affinity/selector", {"affinity": {"nodeAffinity": required}}),
    }
    modest = [f"p{place}" for place in range(4)]

    async def story() -> None:
        async with scheduled(tmp_path) as cluster:
            await cluster.priority("high", 1000)
            await cluster.node("n0", cpu="4")
            for name, (_, words) in absurd.items():
                await cluster.pod(name, priorityClassName="high", **words)
            for name in modest:
                await cluster.pod(name, cpu="1")

            async def settled() -> bool:
                placed = [await cluster.is_on(name, "n0") for name in modest]
                return all(placed) and all([await cluster.says(name, why) for name, (why, _) in absurd.items()])

            await until(settled)

    asyncio.run(story())


HANGS = """
from oarlock.actors.scheduler.plugin import Plugin


class Hangs(Plugin):
    name = "Hangs"
    local = True

    def prepare(self, pod, snapshot):
        while pod.name == "stuck":
            pass
        if pod.name == "odd":
            raise RuntimeError("no idea")
"""
CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {multiPoint: {enabled: [{name: Hangs}]}}
- schedulerName: second
"""


def test_a_plugin_that_raises_or_hangs_fails_that_pod_only(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "own.py").write_text(HANGS)
        (tmp_path / "config.yaml").write_text(CONFIGURATION)
        files = {"config": str(tmp_path / "config.yaml"), "plugin_files": [str(tmp_path / "own.py")]}
        async with scheduled(tmp_path, **files) as cluster:
            await cluster.node("n0")
            for name in ("stuck", "odd", "fine"):
                await cluster.pod(name)
            await cluster.pod("other", schedulerName="second")
            await until(lambda: cluster.is_on("fine", "n0"))
            await until(lambda: cluster.is_on("other", "n0"))
            await until(lambda: cluster.says("stuck", 'running "Hangs" plugin: cut off after 300 ms'))
            await until(lambda: cluster.says("odd", 'running "Hangs" filter plugin: RuntimeError: no idea'))

            async def told() -> bool:
                return any("no idea" in one for one in await cluster.events("FailedScheduling"))

            await until(told)
            (tmp_path / "own.py").write_text("broken(")
            (tmp_path / "own.py").write_text(HANGS.replace("while", "if").replace('"odd"', '"nobody"'))
            await until(lambda: cluster.is_on("stuck", "n0"))
            await until(lambda: cluster.is_on("odd", "n0"))

    asyncio.run(story())


STEPS = """
from oarlock.actors.scheduler.plugin import Plugin


class Steps(Plugin):
    name = "Steps"

    def reserve(self, pod, node, snapshot):
        while pod.name == "stuck":
            pass
        if pod.name == "greedy":
            raise KeyError("more")
        return node

    def unreserve(self, pod, node, reserved, snapshot):
        raise ValueError("gone")

    async def pre_bind(self, pod, node, reserved, handle):
        if pod.name == "odd":
            raise RuntimeError("not now")

    def post_bind(self, pod, node):
        raise ValueError("too late")
"""


def test_a_step_that_raises_or_hangs_fails_that_pod_only(tmp_path: Path) -> None:
    why = {
        "stuck": 'running "Steps" plugin: cut off after 300 ms',
        "greedy": "running \"Steps\" reserve plugin: KeyError: 'more'",
        "odd": 'running "Steps" pre-bind plugin: RuntimeError: not now',
    }

    async def story() -> None:
        (tmp_path / "own.py").write_text(STEPS)
        (tmp_path / "config.yaml").write_text(CONFIGURATION.replace("Hangs", "Steps"))
        files = {"config": str(tmp_path / "config.yaml"), "plugin_files": [str(tmp_path / "own.py")]}
        async with scheduled(tmp_path, **files) as cluster:
            await cluster.node("n0")
            for name in (*why, "fine"):
                await cluster.pod(name)

            async def told() -> bool:
                events = await cluster.events("FailedScheduling")
                return all(one in events for one in why.values()) and await cluster.is_on("fine", "n0")

            await until(told)
            (tmp_path / "own.py").write_text(STEPS.replace("while", "if").replace("raise KeyError", "str"))
            await until(lambda: cluster.is_on("greedy", "n0"))
            await until(lambda: cluster.is_on("stuck", "n0"))

    asyncio.run(story())


def test_an_extender_rules_nodes_out_and_ranks_the_rest(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(request.path)
        names = body["NodeNames"]
        if request.path == "/filter":
            failed = {"n0": "node(s) had no licence"}
            return web.json_response({"NodeNames": [name for name in names if name != "n0"], "FailedNodes": failed})
        return web.json_response([{"Host": name, "Score": 10 if name == "n2" else 0} for name in names])

    async def story() -> None:
        server = TestServer(web.Application())
        server.app.router.add_post("/{verb}", answer)
        await server.start_server()
        (tmp_path / "config.yaml").write_text(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders:\n"
            f"- urlPrefix: http://127.0.0.1:{server.port}\n  filterVerb: filter\n  prioritizeVerb: rank\n"
            "  weight: 5\n  nodeCacheCapable: true\n"
        )
        try:
            async with scheduled(tmp_path, config=str(tmp_path / "config.yaml")) as cluster:
                for name in ("n0", "n1", "n2"):
                    await cluster.node(name, cpu="64" if name == "n0" else "4")
                await cluster.pod("p")
                await until(lambda: cluster.is_on("p", "n2"))
                assert {"/filter", "/rank"} <= set(asked)
                await cluster.pod("q", nodeSelector={"kubernetes.io/hostname": "n0"})
                await until(lambda: cluster.says("q", "1 node(s) had no licence"))
        finally:
            await server.close()

    asyncio.run(story())


def test_an_extender_that_hangs_holds_up_its_own_pods_only(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(3600)
        return web.Response()

    async def story() -> None:
        server = TestServer(web.Application())
        server.app.router.add_post("/{verb}", hang)
        await server.start_server()
        (tmp_path / "config.yaml").write_text(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders:\n"
            f"- urlPrefix: http://127.0.0.1:{server.port}\n  filterVerb: filter\n  httpTimeout: 1h\n"
            "  managedResources: [{name: example.com/licence, ignoredByScheduler: true}]\n"
        )
        try:
            async with scheduled(tmp_path, config=str(tmp_path / "config.yaml")) as cluster:
                await cluster.node("n0")
                resources = {"example.com/licence": "1"}
                container = {"name": "c", "image": "host/x", "resources": {"requests": resources, "limits": resources}}
                await cluster.pod("licensed", containers=[container])
                await asked.wait()
                await cluster.pod("plain")
                await until(lambda: cluster.is_on("plain", "n0"))
                assert not await cluster.is_on("licensed", "n0")
        finally:
            await server.close()

    asyncio.run(story())
