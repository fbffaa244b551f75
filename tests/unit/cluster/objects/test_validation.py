"""Common mistakes are told as upstream tells them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from oarlock.cluster.objects import defaulting, strategy, validation
from oarlock.cluster.objects.batch_validation import schedule_error
from oarlock.cluster.objects.decoding import decode
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import Cause

Obj = dict[str, Any]
_POD = {"containers": [{"name": "c", "image": "nginx"}]}
_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": _POD}
_WORKLOAD = {"selector": {"matchLabels": {"app": "x"}}, "template": _TEMPLATE}


def _resource(group: str, plural: str) -> Resource:
    found = lookup(group, "v1", plural)
    assert found is not None
    return found


def _made(group: str, plural: str, body: Obj) -> Obj:
    resource = _resource(group, plural)
    body = {**body, "metadata": {"name": "x", **body.get("metadata", {})}}
    obj = decode(resource, json.dumps(body).encode()).object
    defaulting.default(resource, obj)
    obj["metadata"]["uid"] = "01ae1207-1c7a-4272-be7a-9351224d55f6"
    if resource.namespaced:
        obj["metadata"].setdefault("namespace", "default")
    strategy.prepare_create(resource, obj)
    return obj


def _create(group: str, plural: str, body: Obj) -> list[Cause]:
    return validation.validate_create(_resource(group, plural), _made(group, plural, body))


def _update(group: str, plural: str, body: Obj, change: Obj) -> list[Cause]:
    resource = _resource(group, plural)
    old = _made(group, plural, body)
    old["metadata"]["resourceVersion"] = "5"
    new = copy.deepcopy(old)
    _merge(new, change)
    strategy.prepare_update(resource, new, old)
    return validation.validate_update(resource, new, old)


def _merge(target: Obj, change: Obj) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = value


GOOD: list[tuple[str, str, Obj]] = [
    ("", "pods", {"spec": _POD}),
    ("", "configmaps", {"data": {"a": "b"}}),
    ("", "secrets", {"stringData": {"a": "b"}}),
    ("", "namespaces", {}),
    ("", "nodes", {}),
    ("", "services", {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
    (
        "",
        "persistentvolumeclaims",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
    ("apps", "deployments", {"spec": _WORKLOAD}),
    ("apps", "replicasets", {"spec": _WORKLOAD}),
    ("apps", "daemonsets", {"spec": _WORKLOAD}),
    ("apps", "statefulsets", {"spec": {**_WORKLOAD, "serviceName": "s"}}),
    ("batch", "jobs", {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}}),
    (
        "batch",
        "cronjobs",
        {
            "spec": {
                "schedule": "*/5 * * * *",
                "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
            }
        },
    ),
    ("coordination.k8s.io", "leases", {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 15}}),
    ("rbac.authorization.k8s.io", "clusterroles", {"metadata": {"name": "system:x"}, "rules": []}),
]


@pytest.mark.parametrize(("group", "plural", "body"), GOOD, ids=[row[1] for row in GOOD])
def test_good_objects_pass_and_may_be_written_again(group: str, plural: str, body: Obj) -> None:
    assert _create(group, plural, body) == []
    assert _update(group, plural, body, {"metadata": {"labels": {"new": "label"}}}) == []


_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
BAD: list[tuple[str, str, Obj, str, str, str]] = [
    (
        "",
        "configmaps",
        {"metadata": {"name": ""}},
        "metadata.name",
        "FieldValueRequired",
        "Required value: name or generateName is required",
    ),
    (
        "",
        "configmaps",
        {"metadata": {"name": "A b"}},
        "metadata.name",
        "FieldValueInvalid",
        f'Invalid value: "A b": {_SUBDOMAIN}',
    ),
    ("", "pods", {}, "spec.containers", "FieldValueRequired", "Required value"),
    (
        "",
        "pods",
        {"spec": {"containers": [{"name": "c"}]}},
        "spec.containers[0].image",
        "FieldValueRequired",
        "Required value",
    ),
    (
        "",
        "pods",
        {"spec": {"containers": [*_POD["containers"], *_POD["containers"]]}},
        "spec.containers[1].name",
        "FieldValueDuplicate",
        'Duplicate value: "c"',
    ),
    (
        "",
        "pods",
        {"spec": {**_POD, "restartPolicy": "Sometimes"}},
        "spec.restartPolicy",
        "FieldValueNotSupported",
        'Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    (
        "",
        "pods",
        {"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}},
        "spec.containers[0].volumeMounts[0].name",
        "FieldValueNotFound",
        'Not found: "v"',
    ),
    (
        "",
        "pods",
        {
            "spec": {
                "containers": [
                    {"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}
                ]
            }
        },
        "spec.containers[0].resources.requests",
        "FieldValueInvalid",
        'Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    ("", "services", {"spec": {"ports": []}}, "spec.ports", "FieldValueRequired", "Required value"),
    (
        "",
        "services",
        {"spec": {"ports": [{"port": 70000, "targetPort": 1}]}},
        "spec.ports[0].port",
        "FieldValueInvalid",
        "Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    ("apps", "deployments", {"spec": {"template": _TEMPLATE}}, "spec.selector", "FieldValueRequired", "Required value"),
    (
        "apps",
        "deployments",
        {"spec": {**_WORKLOAD, "selector": {"matchLabels": {"app": "y"}}}},
        "spec.template.metadata.labels",
        "FieldValueInvalid",
        'Invalid value: {"app":"x"}: `selector` does not match template `labels`',
    ),
    (
        "apps",
        "deployments",
        {"spec": {**_WORKLOAD, "replicas": -1}},
        "spec.replicas",
        "FieldValueInvalid",
        "Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "batch",
        "jobs",
        {"spec": {"template": {"spec": _POD}}},
        "spec.template.spec.restartPolicy",
        "FieldValueRequired",
        'Required value: valid values: "OnFailure", "Never"',
    ),
    (
        "rbac.authorization.k8s.io",
        "roles",
        {"rules": [{"apiGroups": [""], "resources": ["pods"]}]},
        "rules[0].verbs",
        "FieldValueRequired",
        "Required value: verbs must contain at least one value",
    ),
]


@pytest.mark.parametrize(("group", "plural", "body", "field", "reason", "message"), BAD)
def test_mistakes_on_create(group: str, plural: str, body: Obj, field: str, reason: str, message: str) -> None:
    assert Cause(reason, message, field) in _create(group, plural, body)


_POD_FROZEN = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
    "@@ -64,7 +64,7 @@\n"
    '   "SELinuxChangePolicy": null\n'
    "  },\n"
    '  "ImagePullSecrets": null,\n'
    '- "Hostname": "",\n'
    '+ "Hostname": "z",\n'
    '  "Subdomain": "",\n'
    '  "SetHostnameAsFQDN": null,\n'
    '  "Affinity": null,\n'
)
FROZEN: list[tuple[str, str, Obj, Obj, str, str]] = [
    ("", "pods", {"spec": _POD}, {"spec": {"hostname": "z"}}, "spec", _POD_FROZEN),
    (
        "apps",
        "deployments",
        {"spec": _WORKLOAD},
        {"spec": {"selector": {"matchLabels": {"b": "c"}}}},
        "spec.selector",
        'Invalid value: {"matchLabels":{"app":"x","b":"c"}}: field is immutable',
    ),
    (
        "",
        "configmaps",
        {"data": {"a": "b"}, "immutable": True},
        {"data": {"a": "c"}},
        "data",
        "Forbidden: field is immutable when `immutable` is set",
    ),
    ("", "secrets", {"type": "Opaque"}, {"type": "other"}, "type", 'Invalid value: "other": field is immutable'),
    (
        "",
        "configmaps",
        {},
        {"metadata": {"uid": "other"}},
        "metadata.uid",
        'Invalid value: "other": field is immutable',
    ),
]


@pytest.mark.parametrize(("group", "plural", "body", "change", "field", "message"), FROZEN)
def test_what_may_not_change(group: str, plural: str, body: Obj, change: Obj, field: str, message: str) -> None:
    assert (field, message) in [(cause.field, cause.message) for cause in _update(group, plural, body, change)]


def test_a_pod_may_get_another_image_and_more_tolerations() -> None:
    change = {
        "spec": {"containers": [{"name": "c", "image": "other"}], "tolerations": [{"key": "a", "operator": "Exists"}]}
    }
    resource = _resource("", "pods")
    old = _made("", "pods", {"spec": _POD})
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["image"] = "other"
    new["spec"]["tolerations"] = change["spec"]["tolerations"]
    strategy.prepare_update(resource, new, old)
    assert validation.validate_update(resource, new, old) == []
    assert new["metadata"]["generation"] == 2


def test_a_pod_whose_spec_stays_may_not_get_any_annotation() -> None:
    wrong = {
        "controller.kubernetes.io/pod-deletion-cost": "much",
        "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
    }
    causes = _update("", "pods", {"spec": _POD}, {"metadata": {"annotations": wrong}})
    assert [(cause.field, cause.message.partition(": ")[2]) for cause in causes] == [
        ("metadata.annotations[controller.kubernetes.io/pod-deletion-cost]", '"much": must be a 32bit integer'),
        (
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]",
            "may not add AppArmor annotations",
        ),
    ]


def test_new_finalizers_while_deleting_are_refused() -> None:
    resource = _resource("", "configmaps")
    old = _made("", "configmaps", {"metadata": {"finalizers": ["example.com/f"]}})
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"].append("example.com/g")
    message = validation.validate_update(resource, new, old)[0].message
    assert message.endswith('found new finalizers []string{"example.com/g"}')


@pytest.mark.parametrize("schedule", ["* * * * *", "*/15 0-6 1,15 jan-mar mon", "@daily", "@every 5m"])
def test_good_schedules(schedule: str) -> None:
    assert schedule_error(schedule) == ""


@pytest.mark.parametrize(
    "schedule", ["* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "a * * * *", "@often", "5-1 * * * *"]
)
def test_bad_schedules(schedule: str) -> None:
    assert schedule_error(schedule)
