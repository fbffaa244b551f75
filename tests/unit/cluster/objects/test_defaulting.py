"""Objects get upstream's defaults, once."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from oarlock.cluster.objects.decoding import decode
from oarlock.cluster.objects.defaulting import default
from oarlock.cluster.objects.pod_defaults import pull_policy
from oarlock.cluster.objects.resources import lookup

_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]}}
_SELECTOR = {"matchLabels": {"app": "x"}}


def _defaulted(group: str, plural: str, body: dict[str, Any]) -> dict[str, Any]:
    resource = lookup(group, "v1", plural)
    assert resource is not None
    obj = decode(resource, json.dumps({"metadata": {"name": "x"}, **body}).encode()).object
    default(resource, obj)
    once = copy.deepcopy(obj)
    default(resource, obj)
    assert obj == once
    return obj


def test_a_pod() -> None:
    spec = _defaulted("", "pods", {"spec": _TEMPLATE["spec"]})["spec"]
    container = spec.pop("containers")[0]
    assert spec == {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
    }
    assert container == {
        "name": "c",
        "image": "nginx:1.27",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def test_limits_are_requests_in_pods_and_not_in_templates() -> None:
    container = {"name": "c", "image": "a", "resources": {"limits": {"cpu": "1"}}}
    pod = _defaulted("", "pods", {"spec": {"containers": [container]}})
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}
    deployment = _defaulted("apps", "deployments", {"spec": {"selector": _SELECTOR, "template": template}})
    assert "requests" not in deployment["spec"]["template"]["spec"]["containers"][0]["resources"]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/a/b", "Always"),
        ("host:5000/a/b:2", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
        ("Not Valid!", "IfNotPresent"),
    ],
)
def test_pull_policies(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        (
            "deployments",
            {
                "replicas": 1,
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
            },
        ),
        ("replicasets", {"replicas": 1}),
        (
            "daemonsets",
            {
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            },
        ),
        (
            "statefulsets",
            {
                "replicas": 1,
                "podManagementPolicy": "OrderedReady",
                "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            },
        ),
    ],
)
def test_workloads(plural: str, expected: dict[str, Any]) -> None:
    spec = _defaulted("apps", plural, {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}})["spec"]
    assert {name: spec[name] for name in expected} == expected
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_a_job_runs_once() -> None:
    spec = _defaulted("batch", "jobs", {"spec": {"template": _TEMPLATE}})["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 6)
    assert (spec["completionMode"], spec["podReplacementPolicy"]) == ("NonIndexed", "TerminatingOrFailed")


def test_services_by_type() -> None:
    plain = _defaulted("", "services", {"spec": {"ports": [{"port": 80}]}})["spec"]
    assert plain["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (plain["type"], plain["sessionAffinity"], plain["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")
    balanced = _defaulted("", "services", {"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})["spec"]
    assert (balanced["externalTrafficPolicy"], balanced["allocateLoadBalancerNodePorts"]) == ("Cluster", True)


def test_string_data_becomes_data() -> None:
    secret = _defaulted("", "secrets", {"stringData": {"a": "b"}})
    assert (secret["data"], secret["type"], "stringData" in secret) == ({"a": "Yg=="}, "Opaque", False)


def test_a_namespace_carries_its_name_as_a_label() -> None:
    namespace = _defaulted("", "namespaces", {})
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}


def test_a_network_policy_tells_its_directions() -> None:
    policy = _defaulted("networking.k8s.io", "networkpolicies", {"spec": {"egress": [{"to": []}]}})
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
