"""dask-kubernetes' operator, unchanged: its definitions, clusters that compute, scale and go, and jobs.

dask's own programs run in the pods, so that the operator asks a real scheduler which workers to retire.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import yaml
from harness.following import Kind, Object, install_definitions, remove_definitions
from harness.operators import Operator, RunOperator
from kubernetes.client import CoreV1Api
from kubernetes.dynamic import DynamicClient

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

GROUP = "kubernetes.dask.org/v1"
CHART = "operator/deployment/helm/dask-kubernetes-operator/crds"
MERGE = "application/merge-patch+json"
OWN_ADDRESS = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
ROUTES = {
    "name": "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
    "value": '["distributed.http.scheduler.api", "distributed.http.health"]',
}
"""What the scheduler answers over HTTP: dask's documentation wants its API on where an operator scales down."""


@pytest.fixture(scope="module")
def definitions(dynamic: DynamicClient) -> Iterator[list[Object]]:
    """What the operator's Helm chart installs, out of its wheel."""
    folder = resources.files("dask_kubernetes").joinpath(CHART)
    found = [yaml.safe_load(file.read_text()) for file in folder.iterdir() if file.name.endswith(".yaml")]
    assert len(found) == 4
    install_definitions(dynamic, found)
    yield found
    remove_definitions(dynamic, found)


@pytest.fixture(scope="module")
def operator(definitions: list[Object], namespace: str, run_operator: RunOperator) -> Iterator[Operator]:
    with run_operator("-m", "kopf", "run", "-m", "dask_kubernetes.operator.controller", "-n", namespace) as running:
        yield running


def container(name: str, program: list[str], *args: str, scheduler: str, **more: Any) -> Object:
    """A program of dask's. Where the scheduler is, it learns from its Service's variables: there is no DNS here."""
    address = {"name": "DASK_SCHEDULER_ADDRESS", "value": f"tcp://$({scheduler.upper()}_SCHEDULER_SERVICE_HOST):8786"}
    env = [OWN_ADDRESS, ROUTES if name == "scheduler" else address]
    command = [sys.executable, *program]
    return {"name": name, "image": "host/python3", "command": command, "args": list(args), "env": env, **more}


def cluster(name: str, workers: int) -> Object:
    """The spec of a DaskCluster, after the example in dask-kubernetes' documentation."""
    worker = container(
        "worker",
        ["-m", "distributed.cli.dask_worker"],
        *("--name", "$(DASK_WORKER_NAME)", "--host", "$(POD_IP)"),
        *("--no-dashboard", "--no-nanny", "--nthreads", "1", "--memory-limit", "0"),
        scheduler=name,
    )
    scheduler = container(
        "scheduler",
        ["-m", "distributed.cli.dask_scheduler"],
        *("--host", "$(POD_IP)", "--no-dashboard"),
        scheduler=name,
        ports=[{"name": "tcp-comm", "containerPort": 8786}, {"name": "http-dashboard", "containerPort": 8787}],
        readinessProbe={"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 1},
    )
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
        ],
    }
    return {
        "worker": {"replicas": workers, "spec": {"containers": [worker]}},
        "scheduler": {"spec": {"containers": [scheduler]}, "service": service},
    }


class Seen:
    """What a user of one DaskCluster sees of it."""

    def __init__(self, client: DynamicClient, namespace: str, name: str) -> None:
        self.pods = Kind(client, "v1", "Pod", namespace)
        self.services = Kind(client, "v1", "Service", namespace)
        self.deployments = Kind(client, "apps/v1", "Deployment", namespace)
        self.clusters = Kind(client, GROUP, "DaskCluster", namespace)
        self.groups = Kind(client, GROUP, "DaskWorkerGroup", namespace)
        self.name = name

    def select(self, component: str) -> dict[str, str]:
        return {"label_selector": f"dask.org/cluster-name={self.name},dask.org/component={component}"}

    def ready(self, component: str, count: int) -> list[Object]:
        """Return the component's pods once there are exactly so many, and all of them ready."""

        def holds(pods: Any) -> bool:
            return len(pods) == count and all(is_ready(pod) for pod in pods)

        return self.pods.until(holds, **self.select(component))

    def gone(self) -> None:
        """Return once nothing of the cluster is left."""
        label = f"dask.org/cluster-name={self.name}"
        self.clusters.until_gone(self.name)
        for kind in (self.groups, self.deployments, self.services, self.pods):
            kind.until(lambda left: not left, label_selector=label)


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def test_a_cluster_comes_scales_and_goes(operator: Operator, dynamic: DynamicClient, namespace: str) -> None:
    seen = Seen(dynamic, namespace, "simple")
    made = seen.clusters.create("simple", spec=cluster("simple", 2), metadata={"labels": {"team": "a"}})
    assert made["spec"]["idleTimeout"] == 0, "the definition's default"
    (scheduler,) = seen.ready("scheduler", 1)
    assert scheduler["metadata"]["labels"]["team"] == "a"
    service = seen.services.until_object("simple-scheduler", lambda one: one["spec"].get("clusterIP"))
    assert [owner["kind"] for owner in service["metadata"]["ownerReferences"]] == ["DaskCluster"]
    workers = {pod["metadata"]["name"] for pod in seen.ready("worker", 2)}
    group = seen.groups.until_object("simple-default", lambda one: one["metadata"].get("ownerReferences"))
    assert group["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"], "deleted with its cluster"

    seen.clusters.patch("simple", spec={"worker": {"replicas": 3}})
    grown = {pod["metadata"]["name"] for pod in seen.ready("worker", 3)}
    assert workers < grown

    # The operator asks dask's own scheduler, through a port-forward, which two of the three are to go.
    scale = seen.clusters.resource.subresources["scale"]
    read = scale.get(name="simple", namespace=namespace)
    assert read.spec.replicas == 3
    scale.patch(
        name="simple", namespace=namespace, body={"spec": {"replicas": 1}}, content_type="application/merge-patch+json"
    )
    left = {pod["metadata"]["name"] for pod in seen.ready("worker", 1)}
    assert left < grown
    assert seen.clusters.get("simple")["status"]["phase"] in ("Pending", "Running"), "two of its handlers race for it"

    seen.clusters.delete("simple")
    seen.gone()


def test_a_job_computes_on_a_cluster_of_its_own(operator: Operator, dynamic: DynamicClient, namespace: str) -> None:
    seen = Seen(dynamic, namespace, "summing")
    jobs = Kind(dynamic, GROUP, "DaskJob", namespace)
    # The operator makes the runner before the Service: the first run may know of none and fails, the next one does.
    script = (
        "import os; os.environ['SUMMING_SCHEDULER_SERVICE_HOST']\n"
        "from distributed import Client\n"
        "with Client() as client:\n"
        "    client.wait_for_workers(2)\n"
        "    print('sum', client.submit(sum, client.map(lambda n: n * n, range(10))).result())\n"
    )
    runner = container("runner", ["-c", script], scheduler="summing")
    jobs.create(
        "summing",
        spec={
            "job": {"spec": {"containers": [runner], "restartPolicy": "OnFailure"}},
            "cluster": {"spec": cluster("summing", 2)},
        },
    )
    done = jobs.until_object("summing", lambda one: (one.get("status") or {}).get("jobStatus") == "Successful")
    assert done["status"]["startTime"] <= done["status"]["endTime"]
    assert done["status"]["jobRunnerPodName"] == "summing-runner"
    core = CoreV1Api(dynamic.client)
    assert core.read_namespaced_pod_log("summing-runner", namespace) == "sum 285\n"
    seen.clusters.until_gone("summing")
    jobs.delete("summing")
    seen.gone()


def test_its_definitions_refuse_what_they_say(
    definitions: list[Object], dynamic: DynamicClient, namespace: str
) -> None:
    clusters = Kind(dynamic, GROUP, "DaskCluster", namespace)
    spec = cluster("bad", 1)
    del spec["scheduler"]["service"]
    spec["worker"]["replicas"] = "many"
    with pytest.raises(Exception, match="Unprocessable") as refused:
        clusters.create("bad", spec=spec)
    causes = json.loads(refused.value.body)["details"]["causes"]  # type: ignore[attr-defined]
    assert {(cause["field"], cause["reason"]) for cause in causes} == {
        ("spec.scheduler.service", "FieldValueRequired"),
        ("spec.worker.replicas", "FieldValueTypeInvalid"),
    }
