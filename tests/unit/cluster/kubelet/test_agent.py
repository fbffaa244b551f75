"""The agent with real processes, against an API in memory."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from oarlock.cluster.client import ClientSettings, Unreachable
from oarlock.cluster.kubelet.agent import NodeAgent
from oarlock.cluster.kubelet.process import kill_all
from oarlock.cluster.kubelet.settings import AgentSettings, Tls

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
SLEEP = ["/bin/sh", "-c", "echo up; exec sleep 600"]


def pod(name: str, command: list[str], **spec: Any) -> Object:
    container = {"name": "c", "image": "host/sh", "command": command, **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1, "labels": {"a": "b"}},
        "spec": {"nodeName": "n1", "containers": [container], "terminationGracePeriodSeconds": 1, **spec},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def container(obj: Object | None, index: int = 0) -> Object:
    statuses = ((obj or {}).get("status") or {}).get("containerStatuses") or [{}]
    return dict(statuses[index])


def phase(wanted: str) -> Callable[[Object | None], bool]:
    return lambda obj: obj is not None and obj["status"].get("phase") == wanted


def ready(obj: Object | None) -> bool:
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def until(holds: Callable[[], bool]) -> None:
    """Return once something that other processes do has happened."""
    while not holds():  # noqa: ASYNC110 - they tell nobody
        await asyncio.sleep(0.01)


def content(path: Path) -> str:
    """Return what another process has written so far, without the line's end."""
    return path.read_text().strip() if path.exists() else ""


class Rig:
    def __init__(self, api: Any, root: Path, certificates: Any) -> None:
        self.api, self.root = api, root
        self.tls = Tls(certificates.ca, certificates.cert, certificates.key)
        self.agent: NodeAgent

    async def start(self) -> None:
        settings = AgentSettings(
            "n1", "127.0.0.1", "127.0.0", self.tls, ClientSettings("http://x"), self.root, 0, allow_host_images=True
        )
        self.agent = NodeAgent(settings, client=self.api)
        await self.agent.start()

    async def run(self, obj: Object, holds: Callable[[Object | None], bool]) -> Object:
        path = f"{PODS}/{obj['metadata']['name']}"
        self.api.put(path, obj)
        return await self.api.until(path, holds)

    async def logs(self, name: str, query: str = "", on_first: Callable[[], object] | None = None) -> tuple[int, str]:
        """Return status and body; `on_first` is called once the first bytes of the body have come."""
        context = ssl.create_default_context(cafile=self.tls.ca_file)
        context.load_cert_chain(self.tls.cert_file, self.tls.key_file)
        url = f"https://127.0.0.1:{self.agent.port}/containerLogs/default/{name}/c{query}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
            first = await answer.content.readany() if on_first else b""
            if on_first:
                on_first()
            return answer.status, (first + await answer.read()).decode()


@asynccontextmanager
async def started(rig: Rig) -> AsyncIterator[None]:
    await rig.start()
    try:
        yield
    finally:
        await rig.agent.stop()
        kill_all(rig.root, 0.1)


@pytest.fixture
def play(api: Any, root: Path, certificates: Any) -> Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]:
    def run(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            rig = Rig(api, root, certificates)
            async with asyncio.timeout(30), started(rig):
                await scenario(rig)

        asyncio.run(inside())

    return run


def test_the_node_registers_with_its_capacity_and_lease(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        node = await rig.api.until("/api/v1/nodes/n1", lambda o: bool(o and o.get("status")))
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
        assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "127.0.0.1"}
        assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == rig.agent.port
        assert int(node["status"]["capacity"]["cpu"]) >= 1
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
        held = await rig.api.until(lease, lambda o: o is not None)
        assert held["spec"]["holderIdentity"] == "n1"

    play(scenario)


def test_a_pod_runs_is_ready_and_goes_when_deleted(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        made = await rig.run(pod("web", SLEEP), ready)
        status = made["status"]
        assert status["phase"] == "Running"
        assert status["podIP"].startswith("127.0.0.")
        assert container(made)["state"]["running"]["startedAt"]
        assert container(made)["containerID"].startswith("process://")
        assert {c["type"] for c in status["conditions"]} >= {"Ready", "ContainersReady", "Initialized", "PodScheduled"}
        await rig.api.delete(f"{PODS}/web")
        await rig.api.until(f"{PODS}/web", lambda o: o is None)
        await until(lambda: not rig.agent._workers)
        assert list((rig.root / "pods").iterdir()) == []
        reasons = ["Pulled", "Created", "Started", "Killing"]
        await rig.api.told(lambda events: [reason for reason, _ in events] == reasons)

    play(scenario)


def test_a_pod_that_must_not_restart_ends_with_its_exit_code(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        failed = await rig.run(pod("bad", ["sh", "-c", "exit 3"], restartPolicy="Never"), phase("Failed"))
        assert container(failed)["state"]["terminated"]["exitCode"] == 3
        done = await rig.run(pod("good", ["sh", "-c", "true"], restartPolicy="OnFailure"), phase("Succeeded"))
        assert container(done)["state"]["terminated"]["reason"] == "Completed"

    play(scenario)


def test_a_crashing_container_is_restarted_and_then_backs_off(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        crashed = await rig.run(
            pod("crash", ["sh", "-c", "exit 7"]),
            lambda o: container(o).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
        )
        assert container(crashed)["restartCount"] == 1
        assert container(crashed)["lastState"]["terminated"]["exitCode"] == 7
        assert "back-off 10s restarting failed container=c" in container(crashed)["state"]["waiting"]["message"]
        assert crashed["status"]["phase"] == "Running"

    play(scenario)


def test_a_killed_container_is_started_again_at_once(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run(pod("web", ["sh", "-c", "echo $$$$ > pid; exec sleep 600"]), ready)
        pid_file = rig.root / "pods" / "uid-web" / "fs" / "pid"
        await until(lambda: content(pid_file) != "")
        os.kill(int(content(pid_file)), 9)
        again = await rig.api.until(f"{PODS}/web", lambda o: container(o).get("restartCount") == 1 and ready(o))
        assert container(again)["lastState"]["terminated"]["exitCode"] == 137

    play(scenario)


def test_another_image_is_an_image_pull_error_with_its_reason(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        wrong = pod("img", [], container={"image": "nginx:1"})
        seen = await rig.run(wrong, lambda o: "waiting" in container(o).get("state", {}) and bool(_waiting(o)[1]))
        assert _waiting(seen)[0] == "ErrImagePull"
        seen = await rig.api.until(f"{PODS}/img", lambda o: _waiting(o)[0] == "ImagePullBackOff")
        assert seen["status"]["phase"] == "Pending"
        words = "only images named host/"
        await rig.api.told(lambda events: any(one == "Failed" and words in message for one, message in events))

    play(scenario)


def _waiting(obj: Object | None) -> tuple[str, str]:
    waiting = container(obj).get("state", {}).get("waiting", {})
    return waiting.get("reason", ""), waiting.get("message", "")


def test_environment_and_volumes_come_from_configmaps_secrets_and_the_pod(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        metadata = {"namespace": "default"}
        rig.api.put(
            "/api/v1/namespaces/default/configmaps/cm", {"metadata": {"name": "cm", **metadata}, "data": {"K": "v"}}
        )
        rig.api.put(
            "/api/v1/namespaces/default/secrets/s", {"metadata": {"name": "s", **metadata}, "data": {"P": "c2VjcmV0"}}
        )
        spec = {
            "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "P"}}},
                {"name": "BOTH", "value": "$(NAME)-$(K)-$$(K)"},
            ],
            "envFrom": [{"configMapRef": {"name": "cm"}}],
            "volumeMounts": [{"name": "conf", "mountPath": "etc/conf"}],
        }
        script = 'echo "$NAME $LABEL $PASS $BOTH $(cat etc/conf/K) $(cat $OARLOCK_VOLUME_CONF/K)"'
        volumes = [{"name": "conf", "configMap": {"name": "cm"}}]
        made = pod("env", ["sh", "-c", script], restartPolicy="Never", container=spec, volumes=volumes)
        await rig.run(made, phase("Succeeded"))
        assert await rig.logs("env") == (200, "env b secret env-v-$(K) v v\n")

    play(scenario)


def test_the_environment_tells_of_services_and_may_refer_to_them(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        for namespace, name, address in (("default", "kubernetes", "10.0.0.1"), ("default", "db", "10.0.0.2")):
            metadata = {"name": name, "namespace": namespace}
            rig.api.put(
                f"/api/v1/namespaces/{namespace}/services/{name}",
                {"metadata": metadata, "spec": {"clusterIP": address, "ports": [{"port": 443}]}},
            )
        spec = {"env": [{"name": "URL", "value": "pg://$(DB_SERVICE_HOST)"}, {"name": "DB_PORT", "value": "own"}]}
        script = 'echo "$KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT $URL $DB_PORT $1"'
        made = pod("env", ["sh", "-c", script, "-", "$(DB_SERVICE_PORT)"], restartPolicy="Never", container=spec)
        await rig.run(made, phase("Succeeded"))
        assert await rig.logs("env") == (200, "10.0.0.1 443 pg://10.0.0.2 own 443\n")

    play(scenario)


def test_what_a_process_cannot_have_is_a_config_error(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        spec = {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}
        made = pod("abs", SLEEP, container=spec, volumes=[{"name": "v", "emptyDir": {}}])
        seen = await rig.run(made, lambda o: _waiting(o)[0] == "CreateContainerConfigError")
        assert "use the relative mountPath data" in _waiting(seen)[1]

    play(scenario)


def test_init_containers_run_one_after_another_before_the_main_ones(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        inits = [
            {"name": "one", "image": "host/sh", "command": ["sh", "-c", "echo 1 >> order"]},
            {"name": "two", "image": "host/sh", "command": ["sh", "-c", "echo 2 >> order"]},
        ]
        made = pod("init", ["sh", "-c", "cat order"], initContainers=inits, restartPolicy="Never")
        seen = await rig.run(made, phase("Succeeded"))
        assert (await rig.logs("init"))[1] == "1\n2\n"
        assert [s["state"]["terminated"]["exitCode"] for s in seen["status"]["initContainerStatuses"]] == [0, 0]

    play(scenario)


def test_a_sidecar_starts_first_and_ends_with_the_pod(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        side = {
            "name": "side",
            "image": "host/sh",
            "command": ["sh", "-c", "exec sleep 600"],
            "restartPolicy": "Always",
        }
        made = pod("side", ["sh", "-c", "sleep 0.1"], initContainers=[side], restartPolicy="Never")
        seen = await rig.run(made, phase("Succeeded"))
        assert container(seen)["state"]["terminated"]["exitCode"] == 0
        await rig.api.until(f"{PODS}/side", lambda o: "terminated" in o["status"]["initContainerStatuses"][0]["state"])

    play(scenario)


def test_readiness_follows_its_probe_and_liveness_restarts(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        probe = {"exec": {"command": ["sh", "-c", "test -f ok"]}, "periodSeconds": 1, "failureThreshold": 1}
        made = pod("probe", ["sh", "-c", "exec sleep 600"], container={"readinessProbe": probe})
        await rig.run(made, lambda o: container(o).get("started") is True)
        assert not ready(rig.api.objects[f"{PODS}/probe"])
        (rig.root / "pods" / "uid-probe" / "fs" / "ok").touch()
        await rig.api.until(f"{PODS}/probe", ready)
        command = ["sh", "-c", "trap true TERM; while true; do sleep 0.1; done"]
        live = pod("live", command, container={"livenessProbe": {**probe, "terminationGracePeriodSeconds": 1}})
        live["spec"]["terminationGracePeriodSeconds"] = 600
        seen = await rig.run(live, lambda o: container(o).get("restartCount", 0) == 1)
        assert "terminated" in container(seen)["lastState"]
        words = "Container c failed liveness probe, will be restarted"
        await rig.api.told(lambda events: any(message == words for _, message in events))

    play(scenario)


def lingering(name: str) -> Object:
    """A pod that is ready while `ok` is there and whose hook lets it end once `end` is."""
    hook = {"exec": {"command": ["sh", "-c", "touch hooked; until test -f end; do sleep 0.02; done"]}}
    probe = {"exec": {"command": ["sh", "-c", "test -f ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    more = {"readinessProbe": probe, "lifecycle": {"preStop": hook}}
    return pod(name, ["sh", "-c", "touch ok; exec sleep 600"], container=more, terminationGracePeriodSeconds=60)


def test_a_pod_is_ready_until_it_ends_as_long_as_its_probe_says_so(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        path, folder = f"{PODS}/slow", rig.root / "pods" / "uid-slow" / "fs"
        await rig.run(lingering("slow"), ready)
        await rig.api.delete(path)
        await until((folder / "hooked").exists)
        await rig.agent.stop()
        await rig.start()
        (folder / "hooked").unlink()
        await until((folder / "hooked").exists)
        assert ready(rig.api.objects[path]), "it serves, whoever looks after it"
        (folder / "ok").unlink()
        seen = await rig.api.until(path, lambda o: not ready(o))
        assert "running" in container(seen)["state"]
        (folder / "end").touch()
        await rig.api.until(path, lambda o: o is None)

    play(scenario)


def test_a_shorter_grace_ends_a_pod_that_is_ending(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        path = f"{PODS}/stays"
        await rig.run(lingering("stays"), ready)
        await rig.api.delete(path)
        await until((rig.root / "pods" / "uid-stays" / "fs" / "hooked").exists)
        await rig.api.delete(path, {"gracePeriodSeconds": 1})
        await rig.api.until(path, lambda o: o is None)

    play(scenario)


def test_a_restarted_agent_adopts_containers_and_learns_of_exits(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        before = await rig.run(pod("stay", SLEEP), ready)
        ending = pod("ends", ["sh", "-c", "until test -f go; do sleep 0.02; done; exit 5"], restartPolicy="Never")
        await rig.run(ending, ready)
        exit_file = next((rig.root / "pods" / "uid-ends" / "containers").iterdir()) / "exit"
        await rig.agent.stop()
        (rig.root / "pods" / "uid-ends" / "fs" / "go").touch()
        await until(exit_file.exists)
        await rig.start()
        ended = await rig.api.until(f"{PODS}/ends", phase("Failed"))
        assert container(ended)["state"]["terminated"]["exitCode"] == 5
        after = rig.api.objects[f"{PODS}/stay"]
        assert container(after)["containerID"] == container(before)["containerID"]
        assert container(after)["restartCount"] == 0

    play(scenario)


def test_a_pod_deleted_while_no_agent_ran_is_ended(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run(pod("old", SLEEP), ready)
        await rig.agent.stop()
        rig.api.drop(f"{PODS}/old")
        await rig.start()
        await until(lambda: not list((rig.root / "pods").iterdir()))

    play(scenario)


def test_containers_run_on_while_the_api_is_down(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run(pod("web", ["sh", "-c", "echo $$$$ > pid; exec sleep 600"]), ready)
        pid_file = rig.root / "pods" / "uid-web" / "fs" / "pid"
        await until(lambda: content(pid_file) != "")
        rig.api.down = Unreachable("down", sent=False)
        first = content(pid_file)
        os.kill(int(first), 9)
        await until(lambda: content(pid_file) not in ("", first))
        rig.api.down = None
        await rig.api.until(f"{PODS}/web", lambda o: container(o).get("restartCount") == 1)

    play(scenario)


def test_logs_can_be_tailed_stamped_limited_and_followed(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        script = "for i in 1 2 3 4; do echo line $i; done; until test -f go; do sleep 0.02; done; echo last; exit 0"
        await rig.run(pod("log", ["sh", "-c", script], restartPolicy="Never"), ready)
        log_file = rig.root / "pods" / "uid-log" / "logs" / "c" / "0.log"
        await until(lambda: "line 4" in content(log_file))
        assert (await rig.logs("log", "?tailLines=2"))[1] == "line 3\nline 4\n"
        assert (await rig.logs("log", "?limitBytes=8"))[1] == "line 1\nl"
        assert (await rig.logs("log", "?timestamps=true&tailLines=1"))[1].endswith("Z line 4\n")
        end = (rig.root / "pods" / "uid-log" / "fs" / "go").touch
        assert (await rig.logs("log", "?follow=true&tailLines=1", on_first=end))[1] == "line 4\nlast\n"
        assert (await rig.logs("log", "?tailLines=x"))[0] == 400
        assert (await rig.logs("log", "?previous=true"))[0] == 400
        assert (await rig.logs("nope"))[0] == 404

    play(scenario)


def test_the_server_wants_a_certificate(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        context = ssl.create_default_context(cafile=rig.tls.ca_file)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"https://127.0.0.1:{rig.agent.port}/pods", ssl=context) as answer:
                    await answer.read()

    play(scenario)
