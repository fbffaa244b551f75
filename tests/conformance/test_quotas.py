"""Quotas and limits.

Stands for: "ResourceQuota should create a ResourceQuota and capture the life of a service/secret/pod/configMap/replica
set/replication controller/persistent volume claim/custom resource", "... should verify ResourceQuota with (not)
terminating scopes/best effort scope", "... should be able to update and delete", "... should manage the lifecycle of a
ResourceQuota", "... should apply changes to a resourcequota status", "LimitRange should create a LimitRange with
defaults and ensure pod has those defaults applied", "LimitRange should list, patch and delete a LimitRange by
collection".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.kinds import SELECTOR, TEMPLATE
from harness.rest import Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
HARD = {
    "pods": "5",
    "services": "10",
    "services.nodeports": "1",
    "services.loadbalancers": "1",
    "replicationcontrollers": "10",
    "resourcequotas": "1",
    "cpu": "1",
    "memory": "500Mi",
    "configmaps": "10",
    "secrets": "10",
    "persistentvolumeclaims": "10",
    "requests.storage": "10Gi",
    "requests.ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
    "requests.example.com/dongle": "3",
    "count/replicasets.apps": "5",
}


@pytest.fixture
def quota(api: Rest, core: str) -> str:
    """The path of a quota that has counted what there is."""
    api.until(f"{core}/configmaps/kube-root-ca.crt", lambda _: True)
    api.create(f"{core}/resourcequotas", {"metadata": {"name": "quota"}, "spec": {"hard": HARD}})
    path = f"{core}/resourcequotas/quota"
    used(api, path, resourcequotas="1", pods="0", configmaps="1")
    return path


def used(api: Rest, path: str, **amounts: str) -> Object:
    """Return the quota once the amounts are used; their names have _ for -, and __ for what else a name can't have."""
    return api.until(path, lambda found: amounts.items() <= found.get("status", {}).get("used", {}).items())


def pod(name: str, requests: Object | None = None, **spec: Any) -> Object:
    limits = {name: amount for name, amount in (requests or {}).items() if "/" in name}
    resources = {"requests": requests or {}, "limits": limits}
    containers = [{"name": "c", "image": "host/sleep", "resources": resources}]
    return {"metadata": {"name": name}, "spec": {"schedulerName": "nobody", "containers": containers, **spec}}


def is_over(answer: Any) -> bool:
    return (answer.code, answer.reason) == (403, "Forbidden") and "exceeded quota: quota" in answer.message


def test_the_life_of_a_pod(api: Rest, core: str, quota: str) -> None:
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    api.create(f"{core}/pods", pod("fits", requests))
    amounts = {
        "pods": "1",
        "cpu": "500m",
        "memory": "252Mi",
        "requests.ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2",
    }
    used(api, quota, **amounts)
    assert is_over(api("POST", f"{core}/pods", pod("fails", {"cpu": "600m", "memory": "100Mi"})))
    too_many = {"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "1Gi", "example.com/dongle": "2"}
    assert is_over(api("POST", f"{core}/pods", pod("fails", too_many)))
    missing = api("POST", f"{core}/pods", pod("fails", {"cpu": "100m"}))
    assert "must specify memory" in missing.message
    changed = api.get(f"{core}/pods/fits")
    changed["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "100m", "memory": "100Mi"}
    assert api("PUT", f"{core}/pods/fits", changed).code == 422
    used(api, quota, **amounts)
    api.delete(f"{core}/pods/fits", gracePeriodSeconds=0)
    used(api, quota, **dict.fromkeys(amounts, "0"))


def service(name: str, type_: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"type": type_, "ports": [{"port": 80}], **spec}}


def test_the_life_of_a_service(api: Rest, core: str, quota: str) -> None:
    api.create(f"{core}/services", service("plain", "ClusterIP"))
    api.create(f"{core}/services", service("ports", "NodePort"))
    assert is_over(api("POST", f"{core}/services", service("balanced", "LoadBalancer")))
    api.create(f"{core}/services", service("balanced", "LoadBalancer", allocateLoadBalancerNodePorts=False))
    counted = ("services", "services.nodeports", "services.loadbalancers")
    used(api, quota, **dict(zip(counted, "311", strict=True)))
    assert is_over(api("PATCH", f"{core}/services/plain", {"spec": {"type": "NodePort"}}, content_type=MERGE))
    for name in ("plain", "ports", "balanced"):
        api.delete(f"{core}/services/{name}")
    used(api, quota, **dict.fromkeys(counted, "0"))


MERGE = "application/merge-patch+json"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
GOLD = {"gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1"}


@pytest.mark.parametrize(
    ("plural", "fields", "counted"),
    [
        ("configmaps", {}, {"configmaps": "2"}),
        ("secrets", {}, {"secrets": "1"}),
        ("persistentvolumeclaims", {"spec": CLAIM}, {"persistentvolumeclaims": "1", "requests.storage": "1Gi"}),
        (
            "persistentvolumeclaims",
            {"spec": {**CLAIM, "storageClassName": "gold"}},
            {**GOLD, "persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"},
        ),
        (
            "replicationcontrollers",
            {"spec": {"replicas": 0, "selector": {"app": "a"}, "template": TEMPLATE}},
            {"replicationcontrollers": "1"},
        ),
        (
            "replicasets",
            {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
            {"count/replicasets.apps": "1"},
        ),
    ],
)
def test_the_life_of_others(
    api: Rest, core: str, apps: str, quota: str, plural: str, fields: Object, counted: dict[str, str]
) -> None:
    before = api.get(quota)["status"]["used"]
    path = f"{apps if plural == 'replicasets' else core}/{plural}"
    api.create(path, {"metadata": {"name": "counted"}, **fields})
    used(api, quota, **counted)
    api.delete(f"{path}/counted")
    used(api, quota, **{name: before[name] for name in counted})


@pytest.mark.parametrize(
    ("scope", "within", "outside"),
    [
        ("Terminating", pod("p", {"cpu": "1m"}, activeDeadlineSeconds=3600), pod("p", {"cpu": "1m"})),
        ("NotTerminating", pod("p", {"cpu": "1m"}), pod("p", {"cpu": "1m"}, activeDeadlineSeconds=3600)),
        ("BestEffort", pod("p"), pod("p", {"cpu": "1m"})),
        ("NotBestEffort", pod("p", {"cpu": "1m"}), pod("p")),
    ],
)
def test_scopes(api: Rest, core: str, scope: str, within: Object, outside: Object) -> None:
    body = {"metadata": {"name": "scoped"}, "spec": {"hard": {"pods": "1"}, "scopes": [scope]}}
    api.create(f"{core}/resourcequotas", body)
    path = f"{core}/resourcequotas/scoped"
    used(api, path, pods="0")
    for one, count in ((outside, "0"), (within, "1")):
        api.create(f"{core}/pods", {**one, "metadata": {"name": f"p{count}"}})
        used(api, path, pods=count)
    assert api("POST", f"{core}/pods", {**within, "metadata": {"name": "p2"}}).code == 403
    api.create(f"{core}/pods", {**outside, "metadata": {"name": "p3"}})
    api.delete(f"{core}/pods/p1", gracePeriodSeconds=0)
    used(api, path, pods="0")


def test_a_quota_is_changed_and_its_status_too(api: Rest, core: str) -> None:
    body = {"metadata": {"name": "changed", "labels": {"q": "1"}}, "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}}
    path = f"{core}/resourcequotas/changed"
    api.create(f"{core}/resourcequotas", body)
    used(api, path, cpu="0", memory="0")
    api.changed(path, lambda found: found["spec"].update(hard={"cpu": "2", "memory": "1Gi"}))
    hard = api.until(path, lambda found: found["status"]["hard"]["cpu"] == "2")["status"]["hard"]
    assert hard == {"cpu": "2", "memory": "1Gi"}
    told = api.changed(path, lambda found: found["status"].update(hard={"cpu": "3", "memory": "1Gi"}), "/status")
    assert (told["status"]["hard"]["cpu"], told["spec"]["hard"]["cpu"]) == ("3", "2")
    listed = api.get("/api/v1/resourcequotas", labelSelector="q=1", fieldSelector="metadata.name=changed")
    assert len(listed["items"]) == 1
    api.delete(f"{core}/resourcequotas", labelSelector="q=1")
    api.until_gone(path)


def test_limits_give_defaults_and_bounds(api: Rest, core: str) -> None:
    limits = {
        "type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi"},
        "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
    }
    api.create(f"{core}/limitranges", {"metadata": {"name": "limits"}, "spec": {"limits": [limits]}})
    for requests, expected in (
        ({}, {"cpu": "100m", "memory": "200Mi"}),
        ({"cpu": "300m", "memory": "150Mi"}, {"cpu": "300m", "memory": "150Mi"}),
    ):
        made = api.create(f"{core}/pods", pod(f"pod-{len(requests)}", requests))
        assert made["spec"]["containers"][0]["resources"]["requests"] == expected
        assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "500Mi"}
    small = api("POST", f"{core}/pods", pod("small", {"cpu": "10m", "memory": "150Mi"}))
    assert "minimum cpu usage per Container is 50m, but request is 10m" in small.message
    large = pod("large", {"cpu": "600m"})
    large["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "600m"}
    assert "maximum cpu usage per Container is 500m, but limit is 600m" in api("POST", f"{core}/pods", large).message
    api.patch(f"{core}/limitranges/limits", {"spec": {"limits": [{**limits, "min": {"cpu": "5m", "memory": "1Mi"}}]}})
    api.create(f"{core}/pods", pod("small", {"cpu": "10m", "memory": "150Mi"}))
    api.delete(f"{core}/limitranges")
    api.until_gone(f"{core}/limitranges/limits")
    assert api.create(f"{core}/pods", pod("free"))["spec"]["containers"][0]["resources"] == {}
