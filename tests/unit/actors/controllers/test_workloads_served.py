"""Each workload controller through the real API server: what it validates and defaults is what they live with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from harness.controllers import PODS, Cluster, acting, cluster

from oarlock.actors.controllers import rollback
from oarlock.cluster.client.http import ApiClient

Object = dict[str, Any]

LABELS = {"app": "w"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "host/x"}]}}
ONCE = {"metadata": {"labels": LABELS}, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
WORKLOAD = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}


def play(scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        async with cluster() as here, acting(here):
            here.informers.start()
            await here.informers.synced()
            await scenario(here)

    asyncio.run(run())


async def create(here: Cluster, group: str, plural: str, spec: Object) -> str:
    path = f"/apis/{group}/namespaces/default/{plural}"
    await here.client.create(path, {"metadata": {"name": "w"}, "spec": spec})
    return f"{path}/w"


async def status(here: Cluster, path: str, holds: Callable[[Object], bool]) -> Object:
    """Wait until the object's status is as wanted."""
    collection, _, name = path.rpartition("/")
    async with asyncio.timeout(20):
        async for event in here.client.watch(collection, {"fieldSelector": f"metadata.name={name}"}):
            found: Object = event["object"].get("status") or {}
            if holds(found):
                return found
    raise AssertionError("the watch ended")


async def end(here: Cluster, phase: str) -> None:
    """End every pod that runs."""
    for pod in here.pods:
        if (pod.get("status") or {}).get("phase") == "Running":
            await here.client.patch(f"{PODS}/{pod['metadata']['name']}/status", {"status": {"phase": phase}})


async def ready_node(here: Cluster, name: str) -> None:
    """What a new node's agent does: it says that it is ready, and its taint of not being so goes."""
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}]
    await here.client.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": conditions}})


def has(found: Object, kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in found.get("conditions") or ())


def test_a_stateful_set_comes_in_order_with_its_claims() -> None:
    async def scenario(here: Cluster) -> None:
        request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = [{"metadata": {"name": "d"}, "spec": request}]
        spec = {**WORKLOAD, "serviceName": "w", "replicas": 2, "volumeClaimTemplates": claims}
        path = await create(here, "apps/v1", "statefulsets", spec)
        await status(here, path, lambda found: found.get("readyReplicas") == 2)
        assert sorted(pod["metadata"]["name"] for pod in here.pods) == ["w-0", "w-1"]
        held = await here.client.list("/api/v1/namespaces/default/persistentvolumeclaims")
        assert sorted(one["metadata"]["name"] for one in held["items"]) == ["d-w-0", "d-w-1"]

    play(scenario)


def test_a_daemon_set_runs_on_every_node() -> None:
    async def scenario(here: Cluster) -> None:
        await ready_node(here, "n1")
        path = await create(here, "apps/v1", "daemonsets", WORKLOAD)
        await status(here, path, lambda found: found.get("numberAvailable") == 1)
        await here.client.create("/api/v1/nodes", {"metadata": {"name": "n2"}})
        await ready_node(here, "n2")
        await status(here, path, lambda found: found.get("numberAvailable") == 2)

    play(scenario)


def test_a_stuck_rollout_goes_back_with_nothing_else_going_on() -> None:
    async def scenario(here: Cluster) -> None:
        path = await create(here, "apps/v1", "deployments", {**WORKLOAD, "progressDeadlineSeconds": 1})
        await status(here, path, lambda found: found.get("availableReplicas") == 1)
        pod = {**TEMPLATE["spec"], "schedulerName": "nobody"}
        stuck = {"spec": {"template": {**TEMPLATE, "spec": pod}}}
        asking = {"metadata": {"annotations": {rollback.ASKED: "true"}}}
        held = await here.client.patch(path, {**stuck, **asking})
        assert held["metadata"]["generation"] == 2
        await status(here, path, lambda found: found.get("observedGeneration") == 3)
        back = await here.client.get(path)
        assert back["spec"]["template"]["spec"]["schedulerName"] == "default-scheduler"

    play(scenario)


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets"])
def test_a_status_that_somebody_else_wrote_is_set_right(plural: str) -> None:
    async def scenario(here: Cluster) -> None:
        path = await create(here, "apps/v1", plural, WORKLOAD)
        await status(here, path, lambda found: found.get("availableReplicas") == 1)
        wrong = {"status": {"replicas": 9, "readyReplicas": 9, "availableReplicas": 9}}
        written = await here.client.patch(f"{path}/status", wrong)
        assert written["status"]["availableReplicas"] == 9
        await status(here, path, lambda found: found.get("availableReplicas") == 1)

    play(scenario)


def test_an_indexed_job_completes() -> None:
    async def scenario(here: Cluster) -> None:
        spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "template": ONCE}
        path = await create(here, "batch/v1", "jobs", spec)
        await status(here, path, lambda found: found.get("ready") == 3)
        await end(here, "Succeeded")
        found = await status(here, path, lambda found: has(found, "Complete"))
        assert (found["succeeded"], found["completedIndexes"]) == (3, "0-2")
        assert found["uncountedTerminatedPods"] == {}

    play(scenario)


def test_a_job_fails_with_its_index() -> None:
    async def scenario(here: Cluster) -> None:
        spec = {"completions": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "template": ONCE}
        path = await create(here, "batch/v1", "jobs", spec)
        await status(here, path, lambda found: found.get("ready") == 1)
        await end(here, "Failed")
        found = await status(here, path, lambda found: has(found, "Failed"))
        assert (found["failed"], found["failedIndexes"]) == (1, "0")

    play(scenario)


def test_a_cron_job_starts_jobs() -> None:
    async def scenario(here: Cluster) -> None:
        spec = {"schedule": "@every 1s", "jobTemplate": {"spec": {"template": ONCE}}}
        path = await create(here, "batch/v1", "cronjobs", spec)
        found = await status(here, path, lambda found: bool(found.get("active")))
        job = await here.client.get(f"/apis/batch/v1/namespaces/default/jobs/{found['active'][0]['name']}")
        assert job["metadata"]["ownerReferences"][0]["name"] == "w"

    play(scenario)


def test_a_budget_follows_its_pods() -> None:
    async def scenario(here: Cluster) -> None:
        selector = {"selector": {"matchLabels": LABELS}}
        path = await create(here, "policy/v1", "poddisruptionbudgets", {**selector, "maxUnavailable": 1})
        await create(here, "apps/v1", "replicasets", {**WORKLOAD, "replicas": 3})
        found = await status(here, path, lambda found: found.get("disruptionsAllowed") == 1)
        assert (found["currentHealthy"], found["desiredHealthy"], found["expectedPods"]) == (3, 2, 3)

    play(scenario)


def test_an_autoscaler_keeps_to_its_bounds_and_tells_what_it_lacks() -> None:
    async def scenario(here: Cluster) -> None:
        await create(here, "apps/v1", "deployments", {**WORKLOAD, "replicas": 1})
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}
        spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4}
        path = await create(here, "autoscaling/v2", "horizontalpodautoscalers", spec)
        found = await status(here, path, lambda found: found.get("desiredReplicas") == 2)
        assert has(found, "AbleToScale")
        await here.until(lambda: here.available("w") == 2)

    play(scenario)


def test_an_autoscaler_follows_what_the_metrics_apis_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server relays to no other API server, so what those would answer is put in front of the client."""
    asked: list[str] = []
    real = ApiClient.get

    async def get(client: ApiClient, path: str, params: Any = None, **more: Any) -> Object:
        if not path.startswith(("/apis/metrics.k8s.io/", "/apis/external.metrics.k8s.io/")):
            return await real(client, path, params, **more)
        asked.append(path)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if "external" in path:
            return {"items": [{"metricName": "queue", "timestamp": now, "value": "2"}]}
        pods = (await real(client, PODS, params))["items"]
        usage = [{"name": "c", "usage": {"memory": "200Mi"}}]
        return {
            "items": [
                {"metadata": pod["metadata"], "timestamp": now, "window": "30s", "containers": usage} for pod in pods
            ]
        }

    monkeypatch.setattr(ApiClient, "get", get)

    async def scenario(here: Cluster) -> None:
        requests = {"resources": {"requests": {"memory": "100Mi"}}}
        pod = {"containers": [{**TEMPLATE["spec"]["containers"][0], **requests}]}
        await create(here, "apps/v1", "deployments", {**WORKLOAD, "template": {**TEMPLATE, "spec": pod}, "replicas": 1})
        await here.until(lambda: here.available("w") == 1)
        memory = {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}
        queue = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "1"}}
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"},
            "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": memory}, {"type": "External", "external": queue}],
        }
        path = await create(here, "autoscaling/v2", "horizontalpodautoscalers", spec)
        found = await status(here, path, lambda found: found.get("desiredReplicas") == 4)
        assert has(found, "ScalingActive")
        kinds = [one["type"] for one in found["currentMetrics"]]
        assert kinds == ["Resource", "External"], "the one that asks for most decides"
        assert found["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 200
        await here.until(lambda: here.available("w") == 4)
        assert len(asked) >= 2

    play(scenario)
