"""Applying from the server's side.

Stands for: "ServerSideApply should create an applied object if it does not already exist", "... should work for
subresources", "... should remove a field if it is owned but removed in the apply request", "... should not remove a
field if an owner unsets the field but other managers still have ownership of the field", "... should ignore conflict
errors if force apply is used", "... should work for CRDs", "... should give up ownership of a field if forced applied
by a controller", and of "Generated clientset", "ConfigMap ... should run through a ConfigMap lifecycle".
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from harness.rest import APPLY, Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
LABELS = {"app": "a"}


def deployment(name: str, container: Object | None = None, **spec: Any) -> Object:
    used = {"name": "c", "image": "host/sleep", **(container or {})}
    template = {"metadata": {"labels": LABELS}, "spec": {"schedulerName": "nobody", "containers": [used]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


@pytest.mark.parametrize(
    ("plural", "kind", "spec", "owned"),
    [
        (
            "pods",
            "Pod",
            {"containers": [{"name": "c", "image": "host/true"}]},
            {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        ),
        (
            "services",
            "Service",
            {"ports": [{"port": 8080, "protocol": "UDP"}]},
            {"f:spec": {"f:ports": {'k:{"port":8080,"protocol":"UDP"}': {".": {}, "f:port": {}, "f:protocol": {}}}}},
        ),
    ],
)
def test_what_is_not_there_is_created_and_owned_by_both(
    api: Rest, core: str, plural: str, kind: str, spec: Object, owned: Object
) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "applied"}, "spec": spec}
    first = api("PATCH", f"{core}/{plural}/applied", body, content_type=APPLY, fieldManager="m1")
    assert first.code == 201
    second = api.apply(f"{core}/{plural}/applied", body, "m2")
    entries = {entry["manager"]: entry for entry in second["metadata"]["managedFields"]}
    assert entries["m1"]["fieldsV1"] == entries["m2"]["fieldsV1"] == owned
    assert {entries["m1"]["operation"], entries["m2"]["operation"]} == {"Apply"}


def test_a_status_is_applied_at_its_own_path(api: Rest, core: str) -> None:
    heading = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    spec = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "host/true"}]}
    api.apply(f"{core}/pods/p", {**heading, "spec": spec}, "m1")
    told = {**heading, "status": {"conditions": [{"type": "Mine", "status": "True"}]}}
    api.apply(f"{core}/pods/p", told, "m2")
    assert "Mine" not in [one["type"] for one in api.get(f"{core}/pods/p")["status"].get("conditions", [])]
    found = api.apply(f"{core}/pods/p/status", told, "m2")
    assert "Mine" in [one["type"] for one in found["status"]["conditions"]]


def test_what_is_let_go_is_removed_unless_others_hold_it(api: Rest, apps: str) -> None:
    path = f"{apps}/deployments"
    ports = {"ports": [{"containerPort": 80, "protocol": "TCP"}]}
    api.apply(f"{path}/alone", deployment("alone", ports, replicas=0), "m")
    found = api.apply(f"{path}/alone", deployment("alone", replicas=0), "m")
    assert "ports" not in found["spec"]["template"]["spec"]["containers"][0]
    for manager in ("m1", "m2"):
        body = deployment("shared", {"workingDir": "/tmp", "ports": [{"containerPort": 80, "name": "a"}]}, replicas=0)
        api.apply(f"{path}/shared", body, manager)
    found = api.apply(f"{path}/shared", deployment("shared"), "m1")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (found["spec"]["replicas"], container["workingDir"], container["ports"][0]["name"]) == (0, "/tmp", "a")
    found = api.apply(f"{path}/shared", deployment("shared"), "m2")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (found["spec"]["replicas"], "workingDir" in container, "ports" in container) == (1, False, False)


def test_conflicts_and_force(api: Rest, apps: str) -> None:
    path = f"{apps}/deployments/d"
    api.apply(path, deployment("d", replicas=0), "m1")
    api.patch(path, {"spec": {"replicas": 5, "paused": True}}, fieldManager="scaler")
    refused = api("PATCH", path, deployment("d", replicas=0), content_type=APPLY, fieldManager="m1")
    assert (refused.code, refused.reason) == (409, "Conflict")
    assert refused.body["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "scaler" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    assert refused.message.startswith(
        'Apply failed with 1 conflict: conflict with "scaler" using apps/v1: .spec.replicas'
    )
    found = api.apply(path, deployment("d", replicas=0), "m1", force="true")
    assert found["spec"]["replicas"] == 0
    scaler = [entry for entry in found["metadata"]["managedFields"] if entry["manager"] == "scaler"]
    assert "f:replicas" not in scaler[0]["fieldsV1"]["f:spec"]
    assert "f:paused" in scaler[0]["fieldsV1"]["f:spec"]
    scaled = api.patch(f"{path}/scale", {"spec": {"replicas": 2}}, fieldManager="hand")
    assert scaled["spec"]["replicas"] == 2
    entries = {(one["manager"], one.get("subresource")): one for one in api.get(path)["metadata"]["managedFields"]}
    assert entries["hand", "scale"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in entries["m1", None]["fieldsV1"]["f:spec"]


def test_an_apply_from_the_clients_side_is_taken_over(api: Rest, core: str) -> None:
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","b":"2"}}'
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": last}
    body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    made = deepcopy(body)
    made["metadata"]["annotations"] = annotations
    api.create(f"{core}/configmaps", made, fieldManager="kubectl-client-side-apply")
    del body["data"]["b"]
    body["metadata"]["annotations"] = annotations
    api.apply(f"{core}/configmaps/c", body, "kubectl", force="true")
    body["data"] = {"c": "3"}
    assert api.apply(f"{core}/configmaps/c", body, "kubectl", force="true")["data"]["c"] == "3"


@pytest.mark.parametrize(
    ("parameters", "body", "code", "said"),
    [
        ({}, {}, 422, "fieldManager: Required value: is required for apply patch"),
        ({"fieldManager": "m"}, {"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
        (
            {"fieldManager": "m"},
            {"metadata": {"name": "c", "managedFields": [{}]}},
            400,
            "metadata.managedFields must be nil",
        ),
        ({"fieldManager": "m", "fieldValidation": "Strict"}, {"dta": {}}, 500, ".dta: field not declared in schema"),
        ({"fieldManager": "m" * 129}, {}, 422, "fieldManager: Too long: may not be more than 128 bytes"),
    ],
)
def test_applies_that_are_refused(api: Rest, core: str, parameters: Any, body: Object, code: int, said: str) -> None:
    heading = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    answer = api("PATCH", f"{core}/configmaps/c", {**heading, **body}, content_type=APPLY, **parameters)
    assert (answer.code, said in answer.message) == (code, True), answer
