"""kr8s, unchanged, against a cluster of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import kr8s
import pytest
from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap
from kr8s.asyncio.objects import Pod as AsyncPod
from kr8s.objects import ConfigMap, Deployment, Namespace, Pod

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]

NAMESPACE = "kr8s"


@pytest.fixture(scope="module")
def api(oarlock_cluster: Any) -> Iterator[Any]:
    api = kr8s.api(kubeconfig=str(oarlock_cluster.kubeconfig), namespace=NAMESPACE)
    namespace = Namespace({"metadata": {"name": NAMESPACE}}, api=api)
    namespace.create()
    yield api
    namespace.delete()


def metadata(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "labels": labels}


def test_the_server_says_what_it_is(api: Any) -> None:
    assert api.version()["minor"] == "36"
    assert {"pods", "deployments", "leases"} <= {resource["name"] for resource in api.api_resources()}
    assert api.whoami() == "oarlock-admin"


def test_objects_are_made_read_changed_and_deleted(api: Any) -> None:
    made = ConfigMap({"metadata": metadata("crud"), "data": {"a": "1"}}, api=api)
    made.create()
    assert ConfigMap.get("crud", NAMESPACE, api=api).data == {"a": "1"}
    made.patch({"data": {"b": "2"}})
    made.label(mine="yes")
    made.annotate(note="short")
    found = list(api.get("configmaps", namespace=NAMESPACE, label_selector={"mine": "yes"}))
    assert [one.name for one in found] == ["crud"]
    assert found[0].data == {"a": "1", "b": "2"}
    assert found[0].annotations["note"] == "short"
    made.delete()
    assert not made.exists()
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("crud", NAMESPACE, api=api)


def test_a_deployment_becomes_ready_and_scales(api: Any) -> None:
    container = {"name": "c", "image": "host/sleep", "args": ["1000"]}
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    deployment = Deployment({"metadata": metadata("d"), "spec": spec}, api=api)
    deployment.create()
    deployment.wait("condition=Available", timeout=30)
    deployment.scale(2)
    deployment.wait("jsonpath='{.status.readyReplicas}'=2", timeout=30)
    assert len(deployment.pods()) == 2
    deployment.delete()


def test_pods_run_commands_tell_logs_and_are_awaited(api: Any) -> None:
    script = "echo started; exec sleep 1000"
    container = {"name": "c", "image": "host/sh", "command": ["sh", "-c", script]}
    pod = Pod({"metadata": metadata("p"), "spec": {"containers": [container]}}, api=api)
    pod.create()
    pod.wait("condition=Ready", timeout=30)
    done = pod.exec(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 0)
    failed = pod.exec(["sh", "-c", "exit 4"], check=False)
    assert failed.returncode == 4
    assert next(iter(pod.logs(follow=True))) == "started"
    pod.delete(grace_period=0)


def test_watching(oarlock_cluster: Any) -> None:
    async def scenario() -> list[tuple[str, str]]:
        api = await kr8s.asyncio.api(kubeconfig=str(oarlock_cluster.kubeconfig), namespace="default")
        seen = []
        made = await AsyncConfigMap(
            {"metadata": {"name": "watched", "namespace": "default"}, "data": {"a": "1"}}, api=api
        )
        await made.create()
        async for event, one in api.watch("configmaps", namespace="default", field_selector="metadata.name=watched"):
            seen.append((event, one.data["a"]))
            if event == "ADDED":
                await made.patch({"data": {"a": "2"}})
            elif event == "MODIFIED":
                await made.delete()
            else:
                break
        return seen

    seen = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_ports_are_forwarded(oarlock_cluster: Any) -> None:
    async def scenario() -> bytes:
        api = await kr8s.asyncio.api(kubeconfig=str(oarlock_cluster.kubeconfig), namespace="default")
        command = ["python3", "-m", "http.server", "8080", "--bind", "$(POD_IP)"]
        env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
        probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
        container = {"name": "c", "image": "host/python3", "command": command, "env": env, "readinessProbe": probe}
        body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [container]}}
        pod = await AsyncPod(body, api=api)
        await pod.create()
        await pod.wait("condition=Ready", timeout=30)
        async with pod.portforward(remote_port=8080) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
        await pod.delete(grace_period=0)
        return answer

    assert b"200 OK" in asyncio.run(asyncio.wait_for(scenario(), 60))
