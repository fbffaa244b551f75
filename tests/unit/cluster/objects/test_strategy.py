"""Writes drop, reset and keep what upstream's do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from oarlock.cluster.objects import defaulting, service_strategy, strategy
from oarlock.cluster.objects.pod_strategy import qos_class
from oarlock.cluster.objects.resources import Resource, lookup

Obj = dict[str, Any]


def _resource(group: str, plural: str) -> Resource:
    found = lookup(group, "v1", plural)
    assert found is not None
    return found


def _made(group: str, plural: str, body: Obj) -> Obj:
    resource = _resource(group, plural)
    obj = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"name": "x", "uid": "u-1"},
        **copy.deepcopy(body),
    }
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    return obj


_DEPLOYMENT: Obj = {
    "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    "status": {"replicas": 7},
}


def test_a_client_may_not_bring_a_status() -> None:
    deployment = _made("apps", "deployments", _DEPLOYMENT)
    assert deployment["status"] == {}
    assert deployment["metadata"]["generation"] == 1


def test_a_new_pod_is_pending() -> None:
    pod = _made("", "pods", {"spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[Obj], expected: str) -> None:
    assert qos_class({"containers": [{"resources": one} for one in resources]}) == expected


def test_a_namespace_has_its_finalizer_and_phase() -> None:
    namespace = _made("", "namespaces", {})
    assert (namespace["spec"], namespace["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


def test_a_job_selects_by_its_own_uid() -> None:
    job = _made("batch", "jobs", {"spec": {"template": {"spec": {"containers": []}}}})
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "x"


def test_updates_keep_the_status_and_status_updates_keep_the_rest() -> None:
    resource = _resource("apps", "deployments")
    old = _made("apps", "deployments", _DEPLOYMENT)
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 5
    new["status"] = {"replicas": 9}
    update = copy.deepcopy(new)
    strategy.prepare_update(resource, update, old)
    assert (update["spec"]["replicas"], update["status"], update["metadata"]["generation"]) == (5, {}, 2)
    strategy.prepare_update(resource, new, old, "status")
    assert (new["spec"]["replicas"], new["status"], new["metadata"]["generation"]) == (1, {"replicas": 9}, 1)


def test_labels_alone_do_not_move_the_generation() -> None:
    resource = _resource("apps", "replicasets")
    old = _made("apps", "replicasets", _DEPLOYMENT)
    new = copy.deepcopy(old)
    new["metadata"] = {"name": "x", "labels": {"a": "b"}}
    strategy.prepare_update(resource, new, old)
    assert new["metadata"] == {"name": "x", "labels": {"a": "b"}, "generation": 1, "uid": "u-1"}


def test_resize_changes_resources_only() -> None:
    resource = _resource("", "pods")
    old = _made("", "pods", {"spec": {"containers": [{"name": "c", "image": "i"}]}})
    new = copy.deepcopy(old)
    new["spec"]["containers"][0] |= {"image": "other", "resources": {"limits": {"cpu": "1"}}}
    new["spec"]["hostname"] = "h"
    strategy.prepare_update(resource, new, old, "resize")
    container = new["spec"]["containers"][0]
    assert (container["image"], container["resources"], "hostname" in new["spec"]) == (
        "i",
        {"limits": {"cpu": "1"}},
        False,
    )
    assert new["metadata"]["generation"] == 2


def test_a_service_keeps_its_address_and_ports() -> None:
    resource = _resource("", "services")
    old = _made("", "services", {"spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    old["spec"] |= {"clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"]}
    old["spec"]["ports"][0]["nodePort"] = 30001
    new = _made("", "services", {"spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    service_strategy.carry_over(new["spec"], old["spec"])
    strategy.prepare_update(resource, new, old)
    assert (new["spec"]["clusterIP"], new["spec"]["ports"][0]["nodePort"]) == ("10.0.0.9", 30001)
    plain = copy.deepcopy(old)
    plain["spec"]["type"] = "ClusterIP"
    strategy.prepare_update(resource, plain, old)
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in plain["spec"]


def test_a_flow_schemas_status_update_leaves_its_labels_alone() -> None:
    resource = _resource("flowcontrol.apiserver.k8s.io", "flowschemas")
    old = _made("flowcontrol.apiserver.k8s.io", "flowschemas", {"metadata": {"labels": {"a": "b"}}})
    new = copy.deepcopy(old)
    new["metadata"] |= {"labels": {"a": "c"}, "annotations": {"x": "y"}}
    new["status"] = {"conditions": [{"type": "Dangling"}]}
    strategy.prepare_update(resource, new, old, "status")
    assert new["metadata"]["labels"] == {"a": "b"}
    assert "annotations" not in new["metadata"]
    assert new["status"]["conditions"] == [{"type": "Dangling"}]


def test_a_priority_classs_generation_stays() -> None:
    resource = _resource("scheduling.k8s.io", "priorityclasses")
    old = _made("scheduling.k8s.io", "priorityclasses", {"value": 1})
    new = {**copy.deepcopy(old), "description": "other"}
    strategy.prepare_update(resource, new, old)
    assert new["metadata"]["generation"] == 1


def test_topology_by_labels_goes_where_endpoints_change() -> None:
    resource = _resource("discovery.k8s.io", "endpointslices")
    body = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"], "deprecatedTopology": {"a": "b"}}]}
    old = _made("discovery.k8s.io", "endpointslices", body)
    assert "deprecatedTopology" not in old["endpoints"][0]
    new = copy.deepcopy(old)
    new["endpoints"][0]["deprecatedTopology"] = {"a": "b"}
    strategy.prepare_update(resource, new, old)
    assert "deprecatedTopology" not in new["endpoints"][0]


def test_which_puts_create_and_which_need_a_version() -> None:
    assert strategy.creates_on_update(_resource("coordination.k8s.io", "leases"))
    assert not strategy.creates_on_update(_resource("", "pods"))
    assert strategy.needs_version(_resource("policy", "poddisruptionbudgets"))
    assert not strategy.needs_version(_resource("", "configmaps"))


_POD_TEMPLATE: Obj = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def test_a_daemon_set_counts_its_templates() -> None:
    old = _made("apps", "daemonsets", {"spec": {"template": copy.deepcopy(_POD_TEMPLATE)}})
    assert old["metadata"]["annotations"] == {_TEMPLATE_GENERATION: "1"}
    scaled = copy.deepcopy(old)
    scaled["spec"]["minReadySeconds"] = 5
    del scaled["metadata"]["annotations"]
    strategy.prepare_update(_resource("apps", "daemonsets"), scaled, old)
    assert scaled["metadata"]["annotations"] == {_TEMPLATE_GENERATION: "1"}
    rolled = copy.deepcopy(old)
    rolled["spec"]["template"]["spec"]["containers"][0]["image"] = "j"
    strategy.prepare_update(_resource("apps", "daemonsets"), rolled, old)
    assert rolled["metadata"]["annotations"] == {_TEMPLATE_GENERATION: "2"}


def test_a_job_carries_the_labels_of_its_pods() -> None:
    job = _made("batch", "jobs", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert job["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == "u-1"
    assert job["spec"]["manualSelector"] is False


def test_a_definition_remembers_the_versions_it_stored() -> None:
    versions = [{"name": "v1beta1", "storage": False}, {"name": "v1", "storage": True}]
    definition = _made("apiextensions.k8s.io", "customresourcedefinitions", {"spec": {"versions": versions}})
    assert definition["status"]["storedVersions"] == ["v1"]


def test_a_signing_request_can_not_be_changed() -> None:
    resource = _resource("certificates.k8s.io", "certificatesigningrequests")
    old = {"metadata": {"name": "x"}, "spec": {"request": "a"}, "status": {}}
    new = {"metadata": {"name": "x"}, "spec": {"request": "b"}, "status": {}}
    strategy.prepare_update(resource, new, old)
    assert new["spec"] == {"request": "a"}


@pytest.mark.parametrize(
    ("new", "old", "addresses"),
    [
        ({"podIP": "1"}, {}, [{"ip": "1"}]),
        ({"podIP": "2", "podIPs": [{"ip": "1"}]}, {"podIPs": [{"ip": "1"}]}, [{"ip": "2"}]),
        ({"podIPs": [{"ip": "1"}, {"ip": "::1"}]}, {}, [{"ip": "1"}, {"ip": "::1"}]),
    ],
)
def test_a_pods_address_is_the_first_of_its_addresses(new: Obj, old: Obj, addresses: list[Obj]) -> None:
    changed: Obj = {"metadata": {"name": "x"}, "spec": {}, "status": new}
    strategy.prepare_update(
        _resource("", "pods"), changed, {"metadata": {"name": "x"}, "spec": {}, "status": old}, "status"
    )
    assert changed["status"]["podIPs"] == addresses
    assert changed["status"]["podIP"] == addresses[0]["ip"]
