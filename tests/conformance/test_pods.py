"""Pods by their API, with nobody who runs them; what stands beside them.

Stands for: "Pods should run through the lifecycle of Pods and PodStatus", "... should patch a pod status", "...
should delete a collection of pods", "Pods Extended (pod generation)", "Ephemeral Containers should update the
ephemeral containers in an existing pod", "PodTemplates should ...", "Pods Extended Pods Set QOS Class", "RuntimeClass
should reject a Pod requesting a non-existent RuntimeClass", "ServiceAccounts should run through the lifecycle of a
ServiceAccount", "... should update a ServiceAccount", "... should create a serviceAccountToken and ensure a
successful TokenReview", "Secrets/ConfigMap should be immutable if `immutable` field is set", "Servers generated
names", "Events should manage the lifecycle of an event", "Certificates API should support CSR API operations",
"PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC", "Node Lifecycle should run
through the lifecycle of a node", "Lease should have ... API", "PriorityClass endpoints verify ... immutable".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness.kinds import TEMPLATE, request
from harness.rest import MERGE, STRATEGIC, Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]


def pod(name: str, labels: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {**TEMPLATE["spec"], **spec}}  # type: ignore[dict-item]


def resources(**amounts: Object) -> Object:
    return {"containers": [{"name": "c", "image": "host/true", "resources": amounts}]}


def test_a_pods_life_and_status(api: Rest, core: str) -> None:
    begin = api.get(f"{core}/pods")["metadata"]["resourceVersion"]
    with api.watch(f"{core}/pods", resourceVersion=begin, labelSelector="p=1") as watch:
        made = api.create(f"{core}/pods", pod("p", {"p": "1"}))
        assert (made["status"]["phase"], made["status"]["qosClass"]) == ("Pending", "BestEffort")
        api.patch(
            f"{core}/pods/p",
            {"metadata": {"labels": {"patched": "yes"}}, "spec": {"activeDeadlineSeconds": 100}},
            STRATEGIC,
        )
        condition = {"type": "Mine", "status": "True"}
        api.changed(
            f"{core}/pods/p", lambda found: found["status"].setdefault("conditions", []).append(condition), "/status"
        )
        found = api.patch(f"{core}/pods/p/status", {"status": {"message": "patched", "reason": "E2E"}})
        assert (found["status"]["message"], found["status"]["reason"]) == ("patched", "E2E")
        assert "Mine" in [one["type"] for one in found["status"]["conditions"]]
        api.delete(f"{core}/pods/p")
        types = [watch.next()["type"] for _ in range(5)]
    assert types == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    for number in range(3):
        api.create(f"{core}/pods", pod(f"set-{number}", {"type": "swept"}))
    api.delete(f"{core}/pods", labelSelector="type=swept")
    assert api.get(f"{core}/pods", labelSelector="type=swept")["items"] == []


def test_a_pods_generation_counts_changes_of_its_spec(api: Rest, core: str) -> None:
    assert api.create(f"{core}/pods", pod("g"))["metadata"]["generation"] == 1
    path = f"{core}/pods/g"
    assert api.patch(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert api.patch(path, {"spec": {"activeDeadlineSeconds": 100}})["metadata"]["generation"] == 2
    assert (
        api.patch(path, {"spec": {"containers": [{"name": "c", "image": "host/true:2"}]}}, STRATEGIC)["metadata"][
            "generation"
        ]
        == 3
    )
    ephemeral = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "host/true"}]}}
    found = api.patch(f"{path}/ephemeralcontainers", ephemeral, STRATEGIC)
    assert (found["metadata"]["generation"], found["spec"]["ephemeralContainers"][0]["name"]) == (4, "debug")
    assert api.patch(f"{path}/status", {"status": {"message": "m"}})["metadata"]["generation"] == 4
    refused = api("PATCH", path, {"spec": {"hostname": "x"}}, content_type=MERGE)
    assert (refused.code, "pod updates may not change fields other than" in refused.message) == (422, True)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (resources(requests={"cpu": "1", "memory": "1Mi"}, limits={"cpu": "1", "memory": "1Mi"}), "Guaranteed"),
        (resources(limits={"cpu": "1", "memory": "1Mi"}), "Guaranteed"),
        (resources(requests={"cpu": "1"}), "Burstable"),
        (resources(), "BestEffort"),
    ],
)
def test_quality_of_service(api: Rest, core: str, spec: Object, expected: str) -> None:
    assert api.create(f"{core}/pods", pod("q", **spec), dryRun="All")["status"]["qosClass"] == expected


def test_what_a_pod_may_name(api: Rest, core: str) -> None:
    runtime = api("POST", f"{core}/pods", pod("p", runtimeClassName="nonexistent"))
    assert (runtime.code, 'RuntimeClass "nonexistent" not found' in runtime.message) == (403, True)
    priority = api("POST", f"{core}/pods", pod("p", priorityClassName="nonexistent"))
    assert (priority.code, "no PriorityClass with name nonexistent was found" in priority.message) == (403, True)
    account = api("POST", f"{core}/pods", pod("p", serviceAccountName="nonexistent"))
    assert (account.code, 'serviceaccount "nonexistent" not found' in account.message) == (403, True)
    critical = api.create(f"{core}/pods", pod("p", priorityClassName="system-node-critical"), dryRun="All")
    assert (critical["spec"]["priority"], critical["spec"]["preemptionPolicy"]) == (
        2_000_001_000,
        "PreemptLowerPriority",
    )
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    api.create(classes, {"metadata": {"name": "conformance"}, "value": 7})
    try:
        assert (
            api.create(f"{core}/pods", pod("p", priorityClassName="conformance"), dryRun="All")["spec"]["priority"] == 7
        )
        refused = api("PATCH", f"{classes}/conformance", {"value": 8}, content_type=MERGE)
        assert (refused.code, "may not be changed in an update" in refused.message) == (422, True), refused
    finally:
        api.delete(f"{classes}/conformance")


def test_accounts_and_their_tokens(api: Rest, core: str, namespace: str) -> None:
    api.create(f"{core}/serviceaccounts", {"metadata": {"name": "a", "labels": {"sa": "1"}}})
    path = f"{core}/serviceaccounts/a"
    assert api.patch(path, {"automountServiceAccountToken": False}, STRATEGIC)["automountServiceAccountToken"] is False
    assert [one["metadata"]["name"] for one in api.get("/api/v1/serviceaccounts", labelSelector="sa=1")["items"]] == [
        "a"
    ]
    made = api.create(f"{path}/token", {"spec": {"audiences": [], "expirationSeconds": 600}})
    review = {"spec": {"token": made["status"]["token"]}}
    known = api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert (known["authenticated"], known["user"]["username"]) == (True, f"system:serviceaccount:{namespace}:a")
    assert {"system:serviceaccounts", f"system:serviceaccounts:{namespace}"} <= set(known["user"]["groups"])
    other = {"spec": {**review["spec"], "audiences": ["other.example.com"]}}
    assert "authenticated" not in api.create("/apis/authentication.k8s.io/v1/tokenreviews", other)["status"]
    api.create(f"{core}/pods", pod("bound", serviceAccountName="a"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "bound"}
    bound = api.create(f"{path}/token", {"spec": {"boundObjectRef": reference}})["status"]["token"]
    api.delete(f"{core}/pods/bound", gracePeriodSeconds=0)
    gone = api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": bound}})["status"]
    assert "authenticated" not in gone
    api.delete(f"{core}/serviceaccounts", labelSelector="sa=1")
    gone = api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert "authenticated" not in gone


@pytest.mark.parametrize(("plural", "data"), [("configmaps", {"a": "1"}), ("secrets", {"a": "MQ=="})])
def test_what_is_immutable(api: Rest, core: str, plural: str, data: Object) -> None:
    path = f"{core}/{plural}/i"
    api.create(f"{core}/{plural}", {"metadata": {"name": "i"}, "data": data})
    api.patch(path, {"data": {"b": "Mg=="}})
    api.patch(path, {"immutable": True})
    for change in ({"data": {"b": "Mw=="}}, {"immutable": False}, {"data": {"b": None}}):
        refused = api("PATCH", path, change, content_type=MERGE)
        assert (refused.code, "field is immutable when `immutable` is set" in refused.message) == (422, True)
    api.patch(path, {"metadata": {"labels": {"still": "free"}}})
    empty = api("POST", f"{core}/{plural}", {"metadata": {"name": "e"}, "data": {"": "MQ=="}})
    assert (empty.code, empty.reason) == (422, "Invalid")


def test_generated_names(api: Rest, core: str) -> None:
    names = [
        api.create(f"{core}/configmaps", {"metadata": {"generateName": "x" * 70 + "-"}})["metadata"]["name"]
        for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert {(name[:58], len(name)) for name in names} == {("x" * 58, 63)}
    assert all(set(name[58:]) <= set("bcdfghjklmnpqrstvwxz2456789") for name in names)
    nameless = api("POST", f"{core}/configmaps", {"metadata": {}})
    assert "metadata.name: Required value: name or generateName is required" in nameless.message


EVENTS = {
    "/api/v1": {
        "involvedObject": {"namespace": "NAMESPACE", "kind": "Pod", "name": "p"},
        "source": {"component": "e2e"},
    },
    "/apis/events.k8s.io/v1": {
        "eventTime": "2026-01-01T00:00:00.123456Z",
        "reportingController": "example.com/e2e",
        "reportingInstance": "e2e-1",
        "action": "Do",
        "regarding": {"namespace": "NAMESPACE", "kind": "Pod", "name": "p"},
    },
}


@pytest.mark.parametrize("version", EVENTS)
def test_events_in_either_group(api: Rest, new_namespace: Callable[[], str], version: str) -> None:
    mine, other = new_namespace(), new_namespace()
    for namespace in (mine, other):
        path = f"{version}/namespaces/{namespace}/events"
        for number in range(2):
            fields: Object = {**EVENTS[version], "reason": "Test", "type": "Normal"}
            about = "involvedObject" if version == "/api/v1" else "regarding"
            fields[about] = {**fields[about], "namespace": namespace}
            api.create(path, {"metadata": {"name": f"e-{number}", "labels": {"e": "1"}}, **fields})
    path = f"{version}/namespaces/{mine}/events"
    everywhere = [one["metadata"]["namespace"] for one in api.get(f"{version}/events", labelSelector="e=1")["items"]]
    assert {mine, other} <= set(everywhere)
    field = "involvedObject.name" if version == "/api/v1" else "regarding.name"
    assert len(api.get(path, fieldSelector=f"{field}=p,reason=Test,type=Normal")["items"]) == 2
    if version == "/api/v1":  # of the newer kind only the series may change
        assert api.patch(f"{path}/e-0", {"message": "patched"})["message"] == "patched"
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    assert api.changed(f"{path}/e-0", lambda found: found.update(series=series))["series"]["count"] == 2
    across = {"/api/v1": "/apis/events.k8s.io/v1", "/apis/events.k8s.io/v1": "/api/v1"}[version]
    assert api.get(f"{across}/namespaces/{mine}/events/e-0")["series"]["count"] == 2
    api.delete(path, labelSelector="e=1")
    assert api.get(path, labelSelector="e=1")["items"] == []
    assert len(api.get(f"{version}/namespaces/{other}/events", labelSelector="e=1")["items"]) == 2


def test_a_certificate_request(api: Rest, namespace: str) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": request(),
        "signerName": f"example.com/{namespace}",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    made = api.create(
        path, {"metadata": {"name": namespace, "labels": {"csr": namespace}}, "spec": {**spec, "username": "other"}}
    )
    assert made["spec"]["username"] != "other", "who asks is what the server knows"
    assert "system:masters" in made["spec"]["groups"]
    assert len(api.get(path, fieldSelector=f"spec.signerName=example.com/{namespace}")["items"]) == 1
    approved = {"type": "Approved", "status": "True", "reason": "Hand", "message": "by hand"}
    own = f"{path}/{namespace}"
    assert api.get(f"{own}/approval")["metadata"]["name"] == namespace
    elsewhere = api.get(own)
    elsewhere["status"]["conditions"] = [approved]
    assert 'may not add a condition of type "Approved"' in api("PUT", f"{own}/status", elsewhere).message
    found = api.changed(own, lambda found: found["status"].update(conditions=[approved]), "/approval")
    assert found["status"]["conditions"][0]["type"] == "Approved"
    assert found["status"]["conditions"][0]["lastTransitionTime"]
    denied = api.get(own)
    denied["status"]["conditions"].append({**approved, "type": "Denied"})
    assert api("PUT", f"{own}/approval", denied).code == 422
    api.delete(path, labelSelector=f"csr={namespace}")
    assert api("GET", own).code == 404


def test_a_volume_and_its_claim(api: Rest, core: str, namespace: str) -> None:
    volumes, claims = "/api/v1/persistentvolumes", f"{core}/persistentvolumeclaims"
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/tmp/none"},
        "storageClassName": namespace,
    }
    api.create(volumes, {"metadata": {"name": namespace}, "spec": {**spec, "persistentVolumeReclaimPolicy": "Retain"}})
    wanted = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": namespace,
    }
    api.create(claims, {"metadata": {"name": "claim"}, "spec": wanted})
    bound = api.until(f"{claims}/claim", lambda found: found["status"].get("phase") == "Bound")
    assert (bound["spec"]["volumeName"], bound["metadata"]["finalizers"]) == (
        namespace,
        ["kubernetes.io/pvc-protection"],
    )
    volume = api.until(f"{volumes}/{namespace}", lambda found: found["status"].get("phase") == "Bound")
    assert volume["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    more = api(
        "PATCH", f"{claims}/claim", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, content_type=MERGE
    )
    assert (more.code, more.reason) == (403, "Forbidden"), "a class that isn't there lets nothing grow"
    condition = {"type": "Tested", "status": "True", "message": "m", "reason": "r", "lastTransitionTime": None}
    told = api.changed(f"{claims}/claim", lambda found: found["status"].update(conditions=[condition]), "/status")
    assert told["status"]["conditions"][0]["type"] == "Tested"
    told = api.patch(f"{volumes}/{namespace}/status", {"status": {"message": "patched"}})
    assert told["status"]["message"] == "patched"
    api.delete(f"{volumes}/{namespace}")
    assert api.get(f"{volumes}/{namespace}")["metadata"]["deletionTimestamp"], "it stays for as long as it is claimed"
    api.delete(claims)
    api.until_gone(f"{claims}/claim")
    api.until_gone(f"{volumes}/{namespace}")


def test_a_nodes_life(api: Rest, namespace: str) -> None:
    path = "/api/v1/nodes"
    made = api.create(
        path, {"metadata": {"name": namespace, "labels": {"n": namespace}}, "spec": {"unschedulable": True}}
    )
    assert made["spec"]["taints"], "who isn't ready yet is tainted"
    capacity = {"example.com/fake": "5"}
    told = api.patch(f"{path}/{namespace}/status", {"status": {"capacity": capacity}})
    assert told["status"]["capacity"] == told["status"]["allocatable"] == capacity
    assert (
        api.changed(f"{path}/{namespace}", lambda found: found["metadata"]["labels"].update(m="1"))["metadata"][
            "labels"
        ]["m"]
        == "1"
    )
    assert [one["metadata"]["name"] for one in api.get(path, labelSelector=f"n={namespace}")["items"]] == [namespace]
    api.delete(path, labelSelector=f"n={namespace}")
    api.until_gone(f"{path}/{namespace}")


def test_a_lease(api: Rest, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {
        "holderIdentity": "me",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-01T00:00:00.123456Z",
        "leaseTransitions": 0,
    }
    made = api.create(path, {"metadata": {"name": "l"}, "spec": {**spec, "renewTime": spec["acquireTime"]}})
    assert made["spec"]["renewTime"] == "2026-01-01T00:00:00.123456Z"
    assert api.get(f"{path}/l")["spec"] == made["spec"]
    patched = api.patch(f"{path}/l", {"spec": {"leaseDurationSeconds": 50}}, STRATEGIC)
    assert patched["spec"]["leaseDurationSeconds"] == 50
    bad = api("PATCH", f"{path}/l", {"spec": {"leaseDurationSeconds": 0}}, content_type=MERGE)
    assert (bad.code, "must be greater than 0" in bad.message) == (422, True)
