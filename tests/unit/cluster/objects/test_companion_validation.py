"""Objects that only accompany others (templates, revisions, capacities): what is refused, and why."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from oarlock.cluster.objects import defaulting, strategy, validation
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import Cause

POD = {"containers": [{"name": "c", "image": "i"}]}
REQUEST = {"name": "r", "exactly": {"deviceClassName": "gpu.example.com"}}
MUST_BE_LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'"
MUST_BE_SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"


def made(group: str, plural: str, body: dict[str, Any]) -> tuple[Resource, dict[str, Any]]:
    resource = lookup(group, "v1", plural)
    assert resource is not None
    obj = {"metadata": {"name": "a", "namespace": "default", "resourceVersion": "1"}, **copy.deepcopy(body)}
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    return resource, obj


def begins(causes: list[Cause], wanted: list[str]) -> None:
    """The causes are these, each told by its beginning: what follows is upstream's help on how to write names."""
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    assert len(said) == len(wanted), said
    for have, want in zip(said, wanted, strict=True):
        assert have.startswith(want)


@pytest.mark.parametrize(
    ("group", "plural", "body", "wanted"),
    [
        ("", "podtemplates", {"template": {"spec": POD}}, []),
        ("", "podtemplates", {"template": {"spec": {}}}, ["template.spec.containers: Required value"]),
        (
            "",
            "podtemplates",
            {"template": {"metadata": {"labels": {"a": "b c"}}, "spec": {"containers": [{"name": "C", "image": "i"}]}}},
            [
                'template.labels: Invalid value: "b c": a valid label must be an empty string or',
                f'template.spec.containers[0].name: Invalid value: "C": {MUST_BE_LABEL}',
            ],
        ),
        ("apps", "controllerrevisions", {"revision": 1, "data": {"a": 1}}, []),
        ("apps", "controllerrevisions", {"data": {}}, []),
        ("apps", "controllerrevisions", {"data": None}, ["data: Required value: data is mandatory"]),
        (
            "apps",
            "controllerrevisions",
            {"revision": -1},
            [
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        ("storage.k8s.io", "csistoragecapacities", {"storageClassName": "s", "capacity": "1Gi"}, []),
        (
            "storage.k8s.io",
            "csistoragecapacities",
            {"storageClassName": "", "capacity": "-1"},
            [
                f'storageClassName: Invalid value: "": {MUST_BE_SUBDOMAIN}',
                'capacity: Invalid value: "-1": must be greater than or equal to 0',
            ],
        ),
        (
            "storage.k8s.io",
            "csistoragecapacities",
            {"storageClassName": "s", "nodeTopology": {"matchExpressions": [{"key": "k", "operator": "In"}]}},
            ["nodeTopology.matchExpressions[0].values: Required value: must be specified when `operator` is 'In'"],
        ),
        ("resource.k8s.io", "resourceclaimtemplates", {"spec": {"spec": {"devices": {"requests": [REQUEST]}}}}, []),
        (
            "resource.k8s.io",
            "resourceclaimtemplates",
            {"spec": {"spec": {"devices": {"requests": [{**REQUEST, "name": "R"}, {"name": "b"}]}}}},
            [
                f'spec.spec.devices.requests[0].name: Invalid value: "R": {MUST_BE_LABEL}',
                "spec.spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable`",
            ],
        ),
    ],
)
def test_creating(group: str, plural: str, body: dict[str, Any], wanted: list[str]) -> None:
    resource, obj = made(group, plural, body)
    begins(validation.validate_create(resource, obj), wanted)


REVISION = {"revision": 1, "data": {"a": 1}}
CAPACITY = {"storageClassName": "s", "capacity": "1Gi"}
CLAIMS = {"spec": {"spec": {"devices": {"requests": [REQUEST]}}}}
RENAMED = {"spec": {"spec": {"devices": {"requests": [{**REQUEST, "name": "z"}]}}}}


@pytest.mark.parametrize(
    ("group", "plural", "old", "new", "wanted"),
    [
        ("", "podtemplates", {"template": {"spec": POD}}, {"template": {"spec": {**POD, "hostNetwork": True}}}, []),
        ("apps", "controllerrevisions", REVISION, {**REVISION, "revision": 2}, []),
        (
            "apps",
            "controllerrevisions",
            REVISION,
            {"revision": -2, "data": {"a": 2}},
            [
                "revision: Invalid value: -2: must be greater than or equal to 0",
                'data: Invalid value: {"a":2}: field is immutable',
            ],
        ),
        ("storage.k8s.io", "csistoragecapacities", CAPACITY, {**CAPACITY, "capacity": "2Gi"}, []),
        (
            "storage.k8s.io",
            "csistoragecapacities",
            CAPACITY,
            {"storageClassName": "t", "nodeTopology": {"matchLabels": {"a": "b"}}},
            [
                'nodeTopology: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable',
                'storageClassName: Invalid value: "t": field is immutable',
            ],
        ),
        ("resource.k8s.io", "resourceclaimtemplates", CLAIMS, CLAIMS, []),
        ("resource.k8s.io", "resourceclaimtemplates", CLAIMS, RENAMED, ["spec: Invalid value: {"]),
    ],
)
def test_changing(group: str, plural: str, old: dict[str, Any], new: dict[str, Any], wanted: list[str]) -> None:
    resource, before = made(group, plural, old)
    _, after = made(group, plural, new)
    strategy.prepare_update(resource, after, before)
    begins(validation.validate_update(resource, after, before), wanted)
