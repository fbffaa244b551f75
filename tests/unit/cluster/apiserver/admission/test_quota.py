"""What writes cost, which quotas they are charged to, and how too much is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oarlock.cluster.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from oarlock.cluster.apiserver.admission.quota.charging import charged, concerns
from oarlock.cluster.apiserver.admission.view import resource
from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]


def quota(hard: Obj, used: Obj | None = None, **spec: Any) -> Obj:
    state = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
    return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": state}


def attributes(plural: str, obj: Obj, old: Obj | None = None, group: str = "", subresource: str = "") -> Attributes:
    new = {"metadata": {"name": "x"}, **obj}
    kind = resource(group, plural)
    operation = CREATE if old is None else UPDATE
    before = None if old is None else {"metadata": {"name": "x"}, **old}
    return Attributes(operation, kind, subresource, "default", "x", User("u"), False, lambda _: None, new, before)


def pod(requests: Obj | None = None, limits: Obj | None = None, **spec: Any) -> Obj:
    container = {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}}
    return {"spec": {"containers": [container], **spec}}


def used_after(asked: Attributes, one: Obj) -> Obj:
    """Return what the quota says is used, {} when it isn't changed."""
    found = charged(asked, [one])
    return found[0]["status"]["used"] if found else {}


COSTS: dict[str, tuple[Obj, Obj, Obj]] = {
    "pods": (pod(), {"pods": "9", "count/pods": "9"}, {"pods": "1", "count/pods": "1"}),
    "requests and limits": (
        pod({"cpu": "100m", "memory": "1Gi"}, {"cpu": "1", "memory": "2Gi"}),
        {"requests.cpu": "9", "cpu": "9", "limits.cpu": "9", "requests.memory": "9Gi", "limits.memory": "9Gi"},
        {"requests.cpu": "100m", "cpu": "100m", "limits.cpu": "1", "requests.memory": "1Gi", "limits.memory": "2Gi"},
    ),
    "extended resources and huge pages": (
        pod({"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}),
        {"requests.example.com/gpu": "9", "hugepages-2Mi": "9Mi", "requests.hugepages-2Mi": "9Mi"},
        {"requests.example.com/gpu": "2", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi"},
    ),
    "overhead": (pod({"cpu": "1"}, overhead={"cpu": "250m"}), {"requests.cpu": "9"}, {"requests.cpu": "1250m"}),
    "a pod that starts larger than it runs": (
        pod({"cpu": "1"}, initContainers=[{"name": "i", "resources": {"requests": {"cpu": "3"}}}]),
        {"requests.cpu": "9"},
        {"requests.cpu": "3"},
    ),
    "resources of the pod as a whole": (
        pod({"cpu": "1"}, resources={"requests": {"cpu": "5"}}),
        {"requests.cpu": "9"},
        {"requests.cpu": "5"},
    ),
    "another kind's quota": (pod(), {"services": "0"}, {}),
}


@pytest.mark.parametrize("case", COSTS)
def test_what_pods_cost(case: str) -> None:
    obj, hard, used = COSTS[case]
    assert used_after(attributes("pods", obj), quota(hard)) == used


SERVICES: dict[str, tuple[Obj, Obj]] = {
    "a cluster address": ({"type": "ClusterIP", "ports": [{"port": 1}]}, {"services": "1"}),
    "node ports": (
        {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]},
        {"services": "1", "services.nodeports": "2"},
    ),
    "a load balancer": (
        {"type": "LoadBalancer", "ports": [{"port": 1}]},
        {"services": "1", "services.nodeports": "1", "services.loadbalancers": "1"},
    ),
    "a load balancer without node ports": (
        {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"port": 1}]},
        {"services": "1", "services.loadbalancers": "1"},
    ),
}


@pytest.mark.parametrize("case", SERVICES)
def test_what_services_cost(case: str) -> None:
    spec, used = SERVICES[case]
    hard = {"services": "9", "services.nodeports": "9", "services.loadbalancers": "9"}
    assert used_after(attributes("services", {"spec": spec}), quota(hard)) == {**dict.fromkeys(hard, "0"), **used}


def test_what_claims_cost() -> None:
    obj = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}}
    by_class = "fast.storageclass.storage.k8s.io"
    hard = {
        "persistentvolumeclaims": "9",
        "requests.storage": "9Gi",
        f"{by_class}/requests.storage": "9Gi",
        f"{by_class}/persistentvolumeclaims": "9",
        "slow.storageclass.storage.k8s.io/persistentvolumeclaims": "9",
    }
    assert used_after(attributes("persistentvolumeclaims", obj), quota(hard)) == {
        "persistentvolumeclaims": "1",
        "requests.storage": "2Gi",
        f"{by_class}/requests.storage": "2Gi",
        f"{by_class}/persistentvolumeclaims": "1",
        "slow.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
    }


@pytest.mark.parametrize(
    ("group", "plural", "name"),
    [
        ("apps", "deployments", "count/deployments.apps"),
        ("", "configmaps", "configmaps"),
        ("", "configmaps", "count/configmaps"),
        ("", "secrets", "secrets"),
        ("", "resourcequotas", "resourcequotas"),
        ("", "replicationcontrollers", "replicationcontrollers"),
        ("batch", "jobs", "count/jobs.batch"),
    ],
)
def test_objects_of_any_kind_are_counted(group: str, plural: str, name: str) -> None:
    assert used_after(attributes(plural, {}, group=group), quota({name: "2"})) == {name: "1"}


def _selector(scope: str, operator: str, *values: str) -> Obj:
    return {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": list(values)}]}


HIGH = pod(priorityClassName="high")
TERM: Obj = {"labelSelector": {}, "topologyKey": "k", "namespaces": ["other"]}
CROSSING = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}})
SCOPES: list[tuple[Obj, Obj, bool]] = [
    ({"scopes": ["BestEffort"]}, pod(), True),
    ({"scopes": ["BestEffort"]}, pod({"cpu": "1"}), False),
    ({"scopes": ["NotBestEffort"]}, pod({"cpu": "1"}), True),
    ({"scopes": ["Terminating"]}, pod(activeDeadlineSeconds=1), True),
    ({"scopes": ["Terminating"]}, pod(), False),
    ({"scopes": ["NotTerminating"]}, pod(), True),
    ({"scopes": ["Terminating", "BestEffort"]}, pod({"cpu": "1"}, activeDeadlineSeconds=1), False),
    ({"scopes": ["PriorityClass"]}, HIGH, True),
    ({"scopes": ["PriorityClass"]}, pod(), False),
    ({"scopeSelector": _selector("PriorityClass", "In", "high", "low")}, HIGH, True),
    ({"scopeSelector": _selector("PriorityClass", "In", "low")}, HIGH, False),
    ({"scopeSelector": _selector("PriorityClass", "NotIn", "low")}, HIGH, True),
    ({"scopeSelector": _selector("PriorityClass", "NotIn", "low")}, pod(), True),
    ({"scopeSelector": _selector("PriorityClass", "DoesNotExist")}, pod(), True),
    ({"scopes": ["CrossNamespacePodAffinity"]}, CROSSING, True),
    ({"scopes": ["CrossNamespacePodAffinity"]}, pod(), False),
]


@pytest.mark.parametrize(("spec", "obj", "counted"), SCOPES)
def test_scopes(spec: Obj, obj: Obj, counted: bool) -> None:
    assert bool(used_after(attributes("pods", obj), quota({"pods": "9"}, **spec))) == counted


def test_classes_of_volume_attributes_are_a_scope_of_claims() -> None:
    one = quota({"persistentvolumeclaims": "9"}, scopeSelector=_selector("VolumeAttributesClass", "In", "gold"))
    gold = {"spec": {"volumeAttributesClassName": "gold"}}
    assert used_after(attributes("persistentvolumeclaims", gold), one) == {"persistentvolumeclaims": "1"}
    assert used_after(attributes("persistentvolumeclaims", {"spec": {}}), one) == {}


REFUSALS: dict[str, tuple[Obj, Obj, str]] = {
    "too many": (
        pod(),
        quota({"pods": "1"}, {"pods": "1"}),
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
    ),
    "only what is exceeded is told": (
        pod({"cpu": "2", "memory": "1Gi"}),
        quota(
            {"pods": "9", "requests.cpu": "3", "requests.memory": "1Gi"},
            {"pods": "1", "requests.cpu": "1500m", "requests.memory": "512Mi"},
        ),
        (
            "exceeded quota: q, requested: requests.cpu=2,requests.memory=1Gi, used: requests.cpu=1500m,"
            "requests.memory=512Mi, limited: requests.cpu=3,requests.memory=1Gi"
        ),
    ),
    "what must be said": (
        pod({"cpu": "1"}),
        quota({"limits.cpu": "9", "requests.cpu": "9", "requests.memory": "1Gi"}),
        "failed quota: q: must specify limits.cpu for: c; requests.memory for: c",
    ),
    "a use that isn't known yet": (
        pod(),
        quota({"pods": "1", "count/pods": "1"}, {}),
        "status unknown for quota: q, resources: count/pods,pods",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str) -> None:
    obj, one, why = REFUSALS[case]
    with pytest.raises(ApiError) as refused:
        charged(attributes("pods", obj), [one])
    assert (refused.value.code, refused.value.message) == (403, f'pods "x" is forbidden: {why}')


def test_what_a_quota_doesnt_enforce_yet_costs_nothing() -> None:
    one = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    assert charged(attributes("pods", pod()), [one]) == []


def test_updates_pay_for_what_is_more() -> None:
    one = quota({"services.nodeports": "3"}, {"services.nodeports": "1"})
    old = {"spec": {"type": "NodePort", "ports": [{"port": 1}]}}
    more = {"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}}
    assert used_after(attributes("services", more, old), one) == {"services.nodeports": "2"}
    assert used_after(attributes("services", old, old), one) == {}
    assert used_after(attributes("services", {"spec": {"type": "ClusterIP"}}, old), one) == {}


def test_a_resize_pays_and_another_update_of_a_pod_doesnt() -> None:
    small, large = pod({"cpu": "1"}), pod({"cpu": "3"})
    resize = attributes("pods", large, small, subresource="resize")
    assert concerns(resize)
    assert used_after(resize, quota({"requests.cpu": "9"}, {"requests.cpu": "1"})) == {"requests.cpu": "3"}
    assert not concerns(replace(resize, subresource=""))
    assert not concerns(replace(resize, subresource="status"))


def test_every_quota_is_charged_or_none() -> None:
    wide, narrow = quota({"pods": "9"}), quota({"pods": "0"})
    assert len(charged(attributes("pods", pod()), [wide, wide])) == 2
    with pytest.raises(ApiError):
        charged(attributes("pods", pod()), [wide, narrow])
    assert wide["status"]["used"] == {"pods": "0"}
