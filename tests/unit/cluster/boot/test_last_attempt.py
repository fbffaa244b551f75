"""`oarlock explain pod` while a scheduler is at work: what it found in the pod's last attempt, or why there is none."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import RunningApiServer, start_api_server
from harness.scheduling import node_object, pod_object

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.hosting import ComponentHost, host_of
from oarlock.cluster.apiserver.holders import Page
from oarlock.cluster.boot import last_attempt
from oarlock.cluster.boot.main import main
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings

PODS = "/api/v1/namespaces/default/pods"
Object = dict[str, Any]
CRASHING = """
from oarlock.actors.scheduler.plugin import Plugin


class Crashing(Plugin):
    name = "Crashing"

    def prepare(self, pod, snapshot):
        raise KeyError("oops")
"""
CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {multiPoint: {enabled: [{name: Crashing}]}}
"""


@dataclass
class Cluster:
    """A cluster in which a scheduler is at work, or several one after the other."""

    api: RunningApiServer
    client: ApiClient
    pages: dict[str, Page]

    async def node(self, name: str, **words: Any) -> None:
        obj = node_object(name, **words)
        await self.client.create("/api/v1/nodes", obj)
        await self.client.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": words.get("taints")}})
        await self.client.patch(f"/api/v1/nodes/{name}/status", {"status": obj["status"]})

    async def pod(self, name: str, **words: Any) -> None:
        obj = pod_object(name, automountServiceAccountToken=False, **words)
        del obj["metadata"]["uid"]
        await self.client.create(PODS, obj)

    async def decided(self, name: str) -> None:
        """Return once the pod says where it is, or why it is nowhere."""

        async def told() -> bool:
            conditions = (await self.client.get(f"{PODS}/{name}"))["status"].get("conditions") or ()
            return any(one["type"] == "PodScheduled" for one in conditions)

        await until(told)

    @asynccontextmanager
    async def scheduler(self, **settings: Any) -> AsyncIterator[ComponentHost]:
        admin = self.api.admin
        client = ClientSettings(self.api.url, admin.ca_file, admin.cert_file, admin.key_file)
        context = ComponentContext(client, "scheduler-a", "kube-scheduler", 10_000, settings)
        host = host_of("oarlock.actors.scheduler.component:create", context)
        await host.start()
        self.pages["kube-scheduler"] = host.answer
        try:
            yield host
        finally:
            await host.stop()

    async def explain(self, name: str, *flags: str) -> int:
        command = ["explain", "--kubeconfig", str(self.api.kubeconfig), "pod", name, *flags]
        return await asyncio.to_thread(main, command)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        for pause_s in itertools.repeat(0.05):
            if await condition():
                return
            await asyncio.sleep(pause_s)


def play(folder: Path, story: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        pages: dict[str, Page] = {}
        async with start_api_server(folder, disabled_plugins=("ServiceAccount",), pages=pages) as api:
            admin = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
            async with ApiClient(admin) as client:
                await story(Cluster(api, client, pages))

    asyncio.run(run())


def words(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_last_attempt_is_told_node_by_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.node("roomy", cpu="8")
        await cluster.node("small", cpu="2")
        await cluster.node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}])
        async with cluster.scheduler():
            await cluster.pod("web", cpu="1")
            await cluster.decided("web")
            # What came later is no part of that attempt.
            await cluster.client.delete("/api/v1/nodes/small")
            assert await cluster.explain("web") == 0

    play(tmp_path, story)
    said = words(capsys.readouterr().out)
    assert said[:2] == ["pod default/web", "is on roomy"]
    assert said[2].startswith("attempt 1 by profile default-scheduler at 20")
    assert said[2].endswith(": bound to roomy")
    roomy, small, tainted = (said.index(one) for one in said if one.split(":")[0] in ("roomy", "small", "tainted"))
    assert roomy < small < tainted
    assert "NodeResourcesFit 92 x 1 = 92" in said[roomy:small]
    assert "NodeResourcesFit 92 x 1 = 92" not in said[small:]
    assert said[tainted + 1 : tainted + 3] == [
        "passes NodeUnschedulable, NodeName",
        "TaintToleration node(s) had untolerated taint(s)",
    ]
    assert said[tainted + 3].startswith("not asked NodeAffinity, NodePorts, NodeResourcesFit")


def test_a_refused_pod_tells_why_and_what_it_waits_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.node("small", cpu="2")
        async with cluster.scheduler():
            await cluster.pod("big", cpu="9")
            await cluster.decided("big")
            assert await cluster.explain("big") == 1
            await cluster.node("roomy", cpu="16")
            await until(lambda: _is_on(cluster, "big", "roomy"))
            assert await cluster.explain("big") == 0

    play(tmp_path, story)
    first, second = capsys.readouterr().out.split("pod default/big\n")[1:]
    said = words(first)
    assert ": found no node: 0/1 nodes are available: 1 Insufficient cpu." in said[0]
    assert said[1].startswith("waits for a change that may help NodeResourcesFit; is tried again in ")
    assert "NodeResourcesFit Insufficient cpu" in said
    # How many there were until the node was ready is a matter of chance.
    assert re.match(r"attempt [2-9] by profile default-scheduler at \S+: bound to roomy", words(second)[1])
    assert "roomy: not graded, as the only choice" in words(second)


async def _is_on(cluster: Cluster, name: str, node: str) -> bool:
    return bool((await cluster.client.get(f"{PODS}/{name}"))["spec"].get("nodeName") == node)


def test_a_pod_that_was_never_tried_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.node("roomy")
        async with cluster.scheduler():
            await cluster.pod("web")
            await cluster.decided("web")
            await cluster.pod("gated", schedulingGates=[{"name": "example.com/quota"}])
            await cluster.pod("foreign", schedulerName="somebody-else")
            await cluster.pod("placed", nodeName="roomy")
            assert await cluster.explain("gated") == 0
            assert await cluster.explain("placed") == 0
            assert await cluster.explain("foreign") == 1

    play(tmp_path, story)
    captured = capsys.readouterr()
    gated, placed, foreign = captured.out.split("pod default/")[1:]
    assert "was never tried\nis held back by its scheduling gates: example.com/quota\n" in gated
    assert "for the cluster as it is now, decided here and not by the scheduler:\nwould go to roomy" in gated
    assert "was put on its node by somebody else than this scheduler, or its attempt has made way" in placed
    assert "was never tried: it asks for somebody-else, and this scheduler has another name" in foreign
    assert "no profile is named somebody-else" in captured.err


def test_after_a_failover_it_is_decided_anew_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.node("roomy", cpu="8")
        async with cluster.scheduler():
            await cluster.pod("web", cpu="1")
            await cluster.decided("web")
        assert await cluster.explain("web") == 0
        # Time stamps are of whole seconds.
        await asyncio.sleep(1.1)
        async with cluster.scheduler():
            await cluster.pod("later", cpu="1")
            await cluster.decided("later")
            assert await cluster.explain("web") == 0
            assert await cluster.explain("later") == 0
            assert await cluster.explain("later", "--now") == 0

    play(tmp_path, story)
    nobody, successor, known, now = capsys.readouterr().out.split("pod default/")[1:]
    assert "no scheduler that keeps attempts" in nobody
    assert "would go to roomy" in nobody
    assert "was scheduled by a predecessor, or by nobody: this scheduler acts since" in successor
    assert "would go to roomy" in successor
    assert "bound to roomy" in known
    assert "attempt" not in now
    assert "would go to roomy" in now


def test_an_attempt_that_a_plugin_failed_names_the_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plugin.py").write_text(CRASHING)
    (tmp_path / "config.yaml").write_text(CONFIG)

    async def story(cluster: Cluster) -> None:
        await cluster.node("roomy")
        settings = {"config": str(tmp_path / "config.yaml"), "plugin_files": [str(tmp_path / "plugin.py")]}
        async with cluster.scheduler(**settings):
            await cluster.pod("web")
            await cluster.decided("web")
            assert await cluster.explain("web") == 1

    play(tmp_path / "cluster", story)
    assert ": failed: running \"Crashing\" filter plugin: KeyError: 'oops'" in capsys.readouterr().out


def page(fitting: Iterable[str], refused: Iterable[str], beyond: int) -> Object:
    names = list(fitting)
    grades = [{"name": "S", "weight": 2, "grades": list(range(len(names)))}]
    kinds = [{"filter": "B", "reasons": ["no"], "nodes": list(refused)}]
    nodes = {"filters": ["A", "B", "C"], "only": [], "impossible": "", "fitting": names, "fittingBeyond": beyond}
    nodes |= {"scores": grades, "refused": kinds, "refusedBeyond": beyond}
    attempt = {"number": 1, "profile": "p", "time": "t", "outcome": "bound", "node": "n", "message": ""}
    return {"attempt": {**attempt, "nominatedNode": "", "victims": [], "nodes": nodes}, "waiting": None}


def test_of_many_nodes_the_best_are_shown_and_what_is_left_out_is_said() -> None:
    made = page([f"f{place}" for place in range(60)], [f"r{place}" for place in range(55)], 7)
    said = words("\n".join(last_attempt.lines(made, every=False)))
    assert said[2] == "f59: 118 points"
    assert "10 more nodes passed every filter: --all shows them" in said
    assert "5 more nodes were refused: --all shows them" in said
    assert "7 further nodes were refused, of which nothing more was kept" in said
    every = words("\n".join(last_attempt.lines(made, every=True)))
    assert {"f0: 0 points", "r54"} <= set(every)
    assert not any("--all" in line for line in every)
