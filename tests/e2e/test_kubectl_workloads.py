"""Each kind of workload as its users drive it with kubectl, on three simulated nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.timeout(180)]

Object = dict[str, Any]
Waiting = Callable[..., Any]

NEVER_READY = {"readinessProbe": {"exec": {"command": ["no"]}, "periodSeconds": 1}}
ENDS = "oarlock.dev/hollow-exit-after"
WITH = "oarlock.dev/hollow-exit-code"


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any], waiting: Waiting) -> Any:
    cluster = new_cluster("workloads")
    cluster.up("--single", "--nodes", "0", "--hollow", "3")
    waiting(lambda: cluster.kubectl("get", "nodes", "--no-headers").count(" Ready ") == 3)
    return cluster


def template(name: str, image: str = "a:1", annotations: Object | None = None, **spec: Any) -> Object:
    container = {"name": "c", "image": image, **spec.pop("container", {})}
    metadata = {"labels": {"app": name}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}}


def create(cluster: Any, kind: str, name: str, spec: Object, **metadata: Any) -> None:
    groups = {"Job": "batch/v1", "CronJob": "batch/v1", "PodDisruptionBudget": "policy/v1", "Service": "v1"}
    body = {"apiVersion": groups.get(kind, "apps/v1"), "kind": kind, "metadata": {"name": name, **metadata}}
    cluster.kubectl("create", "-f", "-", input_text=json.dumps({**body, "spec": spec}))


def workload(name: str, replicas: int = 3, **more: Any) -> Object:
    return {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name), **more}


def patch(cluster: Any, what: str, change: Object) -> None:
    cluster.kubectl("patch", what, "--type=merge", "-p", json.dumps(change))


def rolled_out(cluster: Any, what: str) -> str:
    return str(cluster.kubectl("rollout", "status", what, "--timeout=60s", timeout_s=90))


def images(cluster: Any, name: str) -> list[str]:
    pods = cluster.get("pods", "-l", f"app={name}")["items"]
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    living.sort(key=lambda pod: str(pod["metadata"]["name"]))
    return [pod["spec"]["containers"][0]["image"] for pod in living]


def condition(cluster: Any, what: str, kind: str) -> Object:
    conditions = cluster.get(what)["status"].get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def test_a_deployments_history_is_told_and_gone_back_in(cluster: Any) -> None:
    create(cluster, "Deployment", "old", workload("old"))
    rolled_out(cluster, "deployment/old")
    for number in (2, 3):
        cluster.kubectl("set", "image", "deployment/old", f"c=a:{number}")
        cluster.kubectl("annotate", "--overwrite", "deployment/old", f"kubernetes.io/change-cause=to {number}")
        assert "successfully rolled out" in rolled_out(cluster, "deployment/old")
    history = cluster.kubectl("rollout", "history", "deployment/old").splitlines()
    assert [line.split(None, 1) for line in history if line[:1].isdigit()][1:] == [["2", "to 2"], ["3", "to 3"]]
    assert "a:2" in cluster.kubectl("rollout", "history", "deployment/old", "--revision=2")
    assert "rolled back" in cluster.kubectl("rollout", "undo", "deployment/old")
    rolled_out(cluster, "deployment/old")
    assert images(cluster, "old") == ["a:2"] * 3
    cluster.kubectl("rollout", "undo", "deployment/old", "--to-revision=1")
    rolled_out(cluster, "deployment/old")
    assert images(cluster, "old") == ["a:1"] * 3
    kept = cluster.kubectl("rollout", "history", "deployment/old").splitlines()
    assert [line.split()[0] for line in kept if line[:1].isdigit()] == ["3", "4", "5"]
    assert (
        "unable to find specified revision"
        in cluster.kubectl_run("rollout", "undo", "deployment/old", "--to-revision=2").stderr
    )
    names = cluster.kubectl("get", "replicasets", "-l", "app=old", "-o", "name").split()
    assert len(names) == 3
    assert all(set(name.rpartition("-")[2]) <= set("bcdf456789") for name in names)


def test_a_canary_by_pausing(cluster: Any, waiting: Waiting) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    create(cluster, "Deployment", "halt", workload("halt", 4, minReadySeconds=2, strategy=strategy))
    rolled_out(cluster, "deployment/halt")
    cluster.kubectl("set", "image", "deployment/halt", "c=a:2")
    waiting(lambda: "a:2" in images(cluster, "halt"))
    cluster.kubectl("rollout", "pause", "deployment/halt")
    assert condition(cluster, "deployment/halt", "Progressing").get("reason") in (
        "DeploymentPaused",
        "ReplicaSetUpdated",
    )
    waiting(lambda: condition(cluster, "deployment/halt", "Progressing")["reason"] == "DeploymentPaused")
    cluster.kubectl("wait", "--for=jsonpath={.status.availableReplicas}=5", "deployment/halt", "--timeout=30s")
    assert sorted(images(cluster, "halt")) == [*["a:1"] * 4, "a:2"]
    cluster.kubectl("scale", "deployment/halt", "--replicas=8")
    cluster.kubectl("wait", "--for=jsonpath={.status.availableReplicas}=9", "deployment/halt", "--timeout=30s")
    assert sorted(images(cluster, "halt")) == [*["a:1"] * 7, *["a:2"] * 2], "both are scaled in proportion"
    refused = cluster.kubectl_run("rollout", "undo", "deployment/halt")
    assert "paused" in refused.stderr
    cluster.kubectl("rollout", "resume", "deployment/halt")
    rolled_out(cluster, "deployment/halt")
    assert images(cluster, "halt") == ["a:2"] * 8


def test_a_canary_by_two_deployments(cluster: Any, waiting: Waiting) -> None:
    port = {"port": 80}
    create(cluster, "Service", "twin", {"selector": {"service": "twin"}, "ports": [port]})
    for name, replicas in (("stable", 3), ("canary", 1)):
        spec = workload(name, replicas)
        spec["template"]["metadata"]["labels"]["service"] = "twin"
        create(cluster, "Deployment", name, spec)
        rolled_out(cluster, f"deployment/{name}")

    def ready() -> int:
        slices = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=twin")["items"]
        return sum(one["conditions"]["ready"] for held in slices for one in held.get("endpoints") or [])

    waiting(lambda: ready() == 4)
    cluster.kubectl("set", "image", "deployment/stable", "c=a:2")
    rolled_out(cluster, "deployment/stable")
    cluster.kubectl("delete", "deployment/canary")
    waiting(lambda: ready() == 3)


def test_a_stuck_rollout_is_told_of_and_gone_back_from_when_asked(cluster: Any, waiting: Waiting) -> None:
    create(cluster, "Deployment", "stuck", workload("stuck", progressDeadlineSeconds=3))
    rolled_out(cluster, "deployment/stuck")
    change = [{"name": "c", "image": "a:bad", **NEVER_READY}]
    cluster.kubectl(
        "patch", "deployment/stuck", "-p", json.dumps({"spec": {"template": {"spec": {"containers": change}}}})
    )
    run = cluster.kubectl_run("rollout", "status", "deployment/stuck", "--timeout=60s", timeout_s=90)
    assert run.returncode == 1
    assert 'deployment "stuck" exceeded its progress deadline' in run.stderr
    assert cluster.get("deployment/stuck")["status"]["availableReplicas"] >= 2
    cluster.kubectl("annotate", "deployment/stuck", "oarlock.dev/rollback-on-deadline=true")
    waiting(lambda: images(cluster, "stuck") == ["a:1"] * 3)
    rolled_out(cluster, "deployment/stuck")
    assert "DeploymentRollback" in cluster.kubectl("describe", "deployment/stuck")


def test_a_stateful_set_is_rolled_in_parts_and_back(cluster: Any) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    create(cluster, "StatefulSet", "set", workload("set", serviceName="set", updateStrategy=rolling))
    rolled_out(cluster, "statefulset/set")
    cluster.kubectl("set", "image", "statefulset/set", "c=a:2")
    assert "partitioned roll out complete: 1 new pods have been updated" in rolled_out(cluster, "statefulset/set")
    assert images(cluster, "set") == ["a:1", "a:1", "a:2"]
    cluster.kubectl("delete", "pod/set-0", "--wait=true")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/set-0", "--timeout=30s")
    assert images(cluster, "set") == ["a:1", "a:1", "a:2"], "below the partition the old template stays"
    patch(cluster, "statefulset/set", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
    rolled_out(cluster, "statefulset/set")
    assert images(cluster, "set") == ["a:2"] * 3
    assert cluster.get("statefulset/set")["status"]["currentReplicas"] == 3
    revisions = cluster.kubectl("rollout", "history", "statefulset/set").splitlines()
    assert [line.split()[0] for line in revisions if line[:1].isdigit()] == ["1", "2"]
    cluster.kubectl("rollout", "undo", "statefulset/set")
    rolled_out(cluster, "statefulset/set")
    assert images(cluster, "set") == ["a:1"] * 3
    cluster.kubectl("rollout", "restart", "statefulset/set")
    rolled_out(cluster, "statefulset/set")


def test_a_daemon_set_surges_and_goes_back(cluster: Any) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = workload("daemon", updateStrategy=strategy)
    del spec["replicas"]
    create(cluster, "DaemonSet", "daemon", spec)
    rolled_out(cluster, "daemonset/daemon")
    least = cluster.get("daemonset/daemon")["status"]["numberAvailable"]
    assert least == 3
    cluster.kubectl("set", "image", "daemonset/daemon", "c=a:2")
    rolled_out(cluster, "daemonset/daemon")
    assert images(cluster, "daemon") == ["a:2"] * 3
    cluster.kubectl("rollout", "undo", "daemonset/daemon")
    rolled_out(cluster, "daemonset/daemon")
    assert images(cluster, "daemon") == ["a:1"] * 3
    revisions = cluster.kubectl("rollout", "history", "daemonset/daemon").splitlines()
    assert [line.split()[0] for line in revisions if line[:1].isdigit()] == ["2", "3"]


def job(code: int, **more: Any) -> Object:
    made = template("job", annotations={ENDS: "0", WITH: str(code)}, restartPolicy="Never")
    return {"template": made, **more}


INDEXED = {"completionMode": "Indexed", "completions": 3}
ON_42 = {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}


@pytest.mark.parametrize(
    ("name", "spec", "ends", "reason", "counts"),
    [
        ("plain", job(0, completions=2, parallelism=2), "Complete", "CompletionsReached", {"succeeded": 2}),
        ("indexed", job(0, **INDEXED), "Complete", "CompletionsReached", {"completedIndexes": "0-2"}),
        (
            "success",
            job(0, **INDEXED, parallelism=1, successPolicy={"rules": [{"succeededCount": 1}]}),
            "Complete",
            "SuccessPolicy",
            {"succeeded": 1},
        ),
        ("limit", job(1, backoffLimit=0), "Failed", "BackoffLimitExceeded", {"failed": 1}),
        ("rule", job(42, podFailurePolicy=ON_42), "Failed", "PodFailurePolicy", {"failed": 1}),
        ("each", job(1, **INDEXED, backoffLimitPerIndex=0), "Failed", "FailedIndexes", {"failedIndexes": "0-2"}),
        (
            "most",
            job(1, **INDEXED, parallelism=1, backoffLimitPerIndex=0, maxFailedIndexes=1),
            "Failed",
            "MaxFailedIndexesExceeded",
            {"failedIndexes": "0,1"},
        ),
    ],
)
def test_a_job_ends(cluster: Any, name: str, spec: Object, ends: str, reason: str, counts: Object) -> None:
    create(cluster, "Job", name, spec)
    cluster.kubectl("wait", f"--for=condition={ends}", f"job/{name}", "--timeout=60s", timeout_s=90)
    assert condition(cluster, f"job/{name}", ends)["reason"] == reason
    status = cluster.get(f"job/{name}")["status"]
    assert {key: status.get(key) for key in counts} == counts


def test_a_suspended_job_waits(cluster: Any) -> None:
    create(cluster, "Job", "waits", job(0, suspend=True))
    cluster.kubectl("wait", "--for=condition=Suspended", "job/waits", "--timeout=30s")
    assert cluster.kubectl("get", "pods", "-l", "job-name=waits", "-o", "name") == ""
    patch(cluster, "job/waits", {"spec": {"suspend": False}})
    cluster.kubectl("wait", "--for=condition=Complete", "job/waits", "--timeout=30s")
    assert condition(cluster, "job/waits", "Suspended")["status"] == "False"


def test_a_cron_job_starts_jobs_and_one_is_made_by_hand(cluster: Any, waiting: Waiting) -> None:
    limits = {"successfulJobsHistoryLimit": 1, "concurrencyPolicy": "Forbid"}
    create(cluster, "CronJob", "clock", {"schedule": "@every 1s", "jobTemplate": {"spec": job(0)}, **limits})

    def owned() -> list[str]:
        held = cluster.get("jobs")["items"]
        return [
            str(one["metadata"]["name"])
            for one in held
            if any(owner["name"] == "clock" for owner in one["metadata"].get("ownerReferences") or [])
        ]

    first = set(waiting(owned))
    # Jobs are named by the minute of their time, so there is one a minute however short the interval.
    waiting(lambda: set(owned()) - first, 90)
    waiting(lambda: not first & set(owned()), 90)
    # A job made by hand is the CronJob's own: the limit of one might take it away as soon as it is done.
    patch(cluster, "cronjob/clock", {"spec": {"suspend": True, "successfulJobsHistoryLimit": 10}})
    assert cluster.get("cronjob/clock")["status"]["lastScheduleTime"]
    cluster.kubectl("create", "job", "by-hand", "--from=cronjob/clock")
    cluster.kubectl("wait", "--for=condition=Complete", "job/by-hand", "--timeout=30s")
    assert "cronjob.kubernetes.io/instantiate" in str(cluster.get("job/by-hand")["metadata"]["annotations"])


def test_a_drain_keeps_to_the_budget(cluster: Any, waiting: Waiting) -> None:
    create(cluster, "Deployment", "kept", workload("kept"))
    rolled_out(cluster, "deployment/kept")
    selector = {"selector": {"matchLabels": {"app": "kept"}}}
    create(cluster, "PodDisruptionBudget", "kept", {**selector, "maxUnavailable": 0})
    waiting(lambda: cluster.get("pdb/kept")["status"].get("currentHealthy") == 3)
    pod = cluster.get("pods", "-l", "app=kept")["items"][0]
    node = pod["spec"]["nodeName"]
    drain = ("drain", node, "--ignore-daemonsets", "--force", "--pod-selector=app=kept")
    refused = cluster.kubectl_run(*drain, "--timeout=3s")
    assert refused.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
    patch(cluster, "pdb/kept", {"spec": {"maxUnavailable": 1}})
    cluster.kubectl(*drain, "--timeout=60s", timeout_s=90)
    rolled_out(cluster, "deployment/kept")
    assert node not in {one["spec"]["nodeName"] for one in cluster.get("pods", "-l", "app=kept")["items"]}
    cluster.kubectl("uncordon", node)
