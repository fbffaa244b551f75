"""Tables: what `kubectl get` shows of each kind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from oarlock.cluster.objects import column_docs, resources, tables
from oarlock.cluster.objects.resources import Resource

NOW = datetime(2026, 1, 1, 0, 2, 10, tzinfo=UTC)
META = {"name": "x", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "nginx"}, {"name": "d", "image": "redis"}]}}


def resource(group: str, plural: str, version: str = "v1") -> Resource:
    found = resources.lookup(group, version, plural)
    assert found is not None
    return found


def cells(group: str, plural: str, obj: dict[str, Any], version: str = "v1") -> list[Any]:
    return tables.row(resource(group, plural, version), {"metadata": META, **obj}, NOW)


def running(name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "restartCount": 0, "state": {"running": {}}, **more}


def pod(status: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> list[Any]:
    obj = {"metadata": {**META, **metadata}, "spec": {"containers": [{"name": "c"}], **(spec or {})}, "status": status}
    return cells("", "pods", obj)[:5]


CRASHED = {
    "name": "c",
    "restartCount": 4,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:02:05Z", "exitCode": 1}},
}
INIT = {"initContainers": [{"name": "i"}, {"name": "j"}]}
SIDECAR = {"initContainers": [{"name": "i", "restartPolicy": "Always"}]}
FAILED_INIT = {"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}
DONE_INIT = {"name": "i", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
COMPLETED = {"name": "c", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}


@pytest.mark.parametrize(
    ("status", "spec", "metadata", "shown"),
    [
        ({"phase": "Pending"}, None, {}, ["0/1", "Pending", "0"]),
        ({"phase": "Pending", "conditions": [GATED]}, None, {}, ["0/1", "SchedulingGated", "0"]),
        ({"phase": "Running", "containerStatuses": [running()]}, None, {}, ["1/1", "Running", "0"]),
        ({"phase": "Running", "containerStatuses": [CRASHED]}, None, {}, ["0/1", "CrashLoopBackOff", "4 (5s ago)"]),
        ({"phase": "Failed", "reason": "Evicted"}, None, {}, ["0/1", "Evicted", "0"]),
        ({"phase": "Succeeded", "containerStatuses": [COMPLETED]}, None, {}, ["0/1", "Completed", "0"]),
        (
            {"phase": "Running", "containerStatuses": [COMPLETED, running("d")]},
            {"containers": [{"name": "c"}, {"name": "d"}]},
            {},
            ["1/2", "NotReady", "0"],
        ),
        (
            {"phase": "Running", "containerStatuses": [running()]},
            None,
            {"deletionTimestamp": "2026-01-01T00:01:00Z"},
            ["1/1", "Terminating", "0"],
        ),
        (
            {"phase": "Running", "reason": "NodeLost"},
            None,
            {"deletionTimestamp": "2026-01-01T00:01:00Z"},
            ["0/1", "Unknown", "0"],
        ),
        ({"phase": "Pending", "initContainerStatuses": [FAILED_INIT]}, INIT, {}, ["0/1", "Init:ExitCode:3", "2"]),
        (
            {"phase": "Pending", "initContainerStatuses": [DONE_INIT, {"name": "j", "state": {"running": {}}}]},
            INIT,
            {},
            ["0/1", "Init:1/2", "0"],
        ),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [running("i", started=True, restartCount=1)],
                "containerStatuses": [running()],
            },
            SIDECAR,
            {},
            ["2/2", "Running", "1"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"signal": 9}}}]},
            None,
            {},
            ["0/1", "Signal:9", "0"],
        ),
    ],
)
def test_pod_status(status: Any, spec: Any, metadata: Any, shown: list[str]) -> None:
    assert pod(status, spec, **metadata) == ["x", *shown, "2m10s"]


def test_wide_pod() -> None:
    obj = {
        "spec": {"containers": [], "nodeName": "node-1", "readinessGates": [{"conditionType": "a/b"}]},
        "status": {"podIPs": [{"ip": "10.1.1.1"}], "conditions": [{"type": "a/b", "status": "True"}]},
    }
    assert cells("", "pods", obj)[5:] == ["10.1.1.1", "node-1", "<none>", "1/1"]


@pytest.mark.parametrize(
    ("group", "plural", "obj", "shown"),
    [
        (
            "apps",
            "deployments",
            {
                "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            ["x", "1/3", 2, 1, "2m10s", "c,d", "nginx,redis", "app=x"],
        ),
        (
            "apps",
            "replicasets",
            {
                "spec": {
                    "replicas": 2,
                    "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]},
                    "template": TEMPLATE,
                }
            },
            ["x", 2, 0, 0, "2m10s", "c,d", "nginx,redis", "app in (x)"],
        ),
        (
            "batch",
            "jobs",
            {
                "spec": {"completions": 1, "template": TEMPLATE},
                "status": {
                    "succeeded": 1,
                    "startTime": "2026-01-01T00:00:00Z",
                    "completionTime": "2026-01-01T00:00:07Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            ["x", "Complete", "1/1", "7s", "2m10s", "c,d", "nginx,redis", "<none>"],
        ),
        (
            "batch",
            "cronjobs",
            {
                "spec": {
                    "schedule": "* * * * *",
                    "suspend": False,
                    "jobTemplate": {"spec": {"template": TEMPLATE}},
                },
                "status": {"active": [{}], "lastScheduleTime": "2026-01-01T00:02:00Z"},
            },
            ["x", "* * * * *", "<none>", "False", 1, "10s", "2m10s", "c,d", "nginx,redis", "<none>"],
        ),
        (
            "",
            "services",
            {
                "spec": {
                    "type": "NodePort",
                    "clusterIPs": ["10.0.0.1"],
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                    "selector": {"app": "x"},
                }
            },
            ["x", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "2m10s", "app=x"],
        ),
        (
            "",
            "services",
            {"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}},
            ["x", "LoadBalancer", "10.0.0.1", "<pending>", "<none>", "2m10s", "<none>"],
        ),
        (
            "",
            "nodes",
            {
                "metadata": {**META, "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "False"}],
                    "addresses": [{"type": "InternalIP", "address": "127.64.0.2"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0"},
                },
            },
            [
                *("x", "NotReady,SchedulingDisabled", "control-plane", "2m10s", "v1.36.0"),
                *("127.64.0.2", "<none>", "<unknown>", "<unknown>", "<unknown>"),
            ],
        ),
        (
            "",
            "endpoints",
            {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(5)], "ports": [{"port": 80}]}]},
            ["x", "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more...", "2m10s"],
        ),
        ("discovery.k8s.io", "endpointslices", {"addressType": "IPv4"}, ["x", "IPv4", "<unset>", "<unset>", "2m10s"]),
        (
            "",
            "persistentvolumeclaims",
            {
                "spec": {"volumeName": "pv", "storageClassName": "slow", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteOnce"]},
            },
            ["x", "Bound", "pv", "1Gi", "RWO", "slow", "<unset>", "2m10s", "Filesystem"],
        ),
        (
            "",
            "resourcequotas",
            {"status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "1"}}},
            ["x", "pods: 1/10", "limits.cpu: 0/2", "2m10s"],
        ),
        (
            "policy",
            "poddisruptionbudgets",
            {"spec": {"maxUnavailable": "50%"}, "status": {"disruptionsAllowed": 1}},
            ["x", "N/A", "50%", 1, "2m10s"],
        ),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                ],
            },
            ["x", "Role/r", "2m10s", "u", "", "n/s"],
        ),
        (
            "storage.k8s.io",
            "storageclasses",
            {
                "metadata": {**META, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "p",
            },
            ["x (default)", "p", "Delete", "Immediate", False, "2m10s"],
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {
                "spec": {"signerName": "a/b", "username": "u", "expirationSeconds": 3600},
                "status": {"certificate": "Zg==", "conditions": [{"type": "Approved"}]},
            },
            ["x", "2m10s", "a/b", "u", "60m", "Approved,Issued"],
        ),
        ("rbac.authorization.k8s.io", "roles", {}, ["x", "2026-01-01T00:00:00Z"]),
    ],
)
def test_rows(group: str, plural: str, obj: dict[str, Any], shown: list[Any]) -> None:
    assert cells(group, plural, obj) == shown


def test_autoscalers_of_both_versions() -> None:
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5}
    old = {"spec": {**target, "targetCPUUtilizationPercentage": 70}}
    new = {
        "spec": {
            **target,
            "minReplicas": 2,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 70}}},
                {"type": "Pods", "pods": {"metric": {}, "target": {"averageValue": "1000m"}}},
                {"type": "External", "external": {"target": {"value": "3"}}},
            ],
        },
        "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 12}}}], "currentReplicas": 2},
    }
    plural = "horizontalpodautoscalers"
    assert cells("autoscaling", plural, old)[1:4] == ["Deployment/d", "cpu: <unknown>/70%", "<unset>"]
    shown = cells("autoscaling", plural, new, "v2")
    assert shown[1:] == ["Deployment/d", "cpu: 12%/70%, <unknown>/1 + 1 more...", "2", 5, 2, "2m10s"]


def test_events_of_both_groups_look_alike() -> None:
    old = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "source": {"component": "kubelet", "host": "node-1"},
        "message": "started\n",
        "type": "Normal",
        "reason": "Started",
        "firstTimestamp": "2026-01-01T00:00:10Z",
        "lastTimestamp": "2026-01-01T00:02:00Z",
        "count": 3,
    }
    new = {
        "regarding": {"kind": "Pod", "name": "p"},
        "reportingController": "kubelet",
        "reportingInstance": "node-1",
        "note": "started",
        "type": "Normal",
        "reason": "Started",
        "deprecatedFirstTimestamp": "2026-01-01T00:00:10Z",
        "series": {"count": 3, "lastObservedTime": "2026-01-01T00:02:00.000000Z"},
    }
    shown = ["10s", "Normal", "Started", "pod/p", "", "kubelet, node-1", "started", "2m", 3, "x"]
    assert cells("", "events", old) == shown
    assert cells("events.k8s.io", "events", new) == shown


def test_every_kind_has_as_many_cells_as_columns() -> None:
    for kind in resources.RESOURCES:
        if "list" not in kind.verbs or kind.kind == "IPAddress":  # upstream's row has a cell more than columns
            continue
        assert len(tables.row(kind, {"metadata": META}, NOW)) == len(tables.columns(kind)), kind.qualified


def test_render() -> None:
    obj = {"metadata": META, "status": {"phase": "Succeeded"}}
    table = tables.render(resource("", "pods"), [obj], {"resourceVersion": "7", "continue": "t"}, "Metadata", NOW)
    assert table["metadata"] == {"resourceVersion": "7", "continue": "t"}
    assert table["columnDefinitions"][0]["format"] == "name"
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["rows"][0]["conditions"][0]["reason"] == "Succeeded"
    whole = tables.render(resource("", "pods"), [obj], {}, "Object", NOW, headers=False)
    assert whole["columnDefinitions"] is None
    assert whole["rows"][0]["object"] == {"kind": "Pod", "apiVersion": "v1", **obj}
    assert tables.render(resource("", "pods"), [obj], {}, "None", NOW)["rows"][0]["object"] is None


def test_the_committed_descriptions_are_those_of_the_schemas() -> None:
    committed = (column_docs.DATA / "columns.json").read_bytes()
    assert committed == column_docs.gather()
