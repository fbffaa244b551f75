"""Claims to devices, classes and slices that are refused, and what they get by default."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import (
    defaulting,
    device_claim_validation,
    device_status_validation,
    resource_slice_validation,
)
from oarlock.cluster.objects.resources import lookup
from oarlock.cluster.objects.status import Cause

LABEL = "a lowercase RFC 1123 label must consist of"
EXACTLY = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
OPAQUE = {"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}
OF_CLAIM = "must be the name of a request in the claim"


def claim(*requests: dict[str, Any], **devices: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "c", "namespace": "n"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def request(**more: Any) -> dict[str, Any]:
    return {"name": "r", "exactly": {**EXACTLY, **more}}


def found(causes: list[Cause], field: str, said: str) -> None:
    listed = "\n".join(f"{cause.field}: {cause.message}" for cause in causes)
    assert [cause.field for cause in causes] == ([field] if field else []), listed
    assert all(said in cause.message for cause in causes), listed


FIRST = "spec.devices.requests[0]"


@pytest.mark.parametrize(
    ("obj", "field", "said"),
    [
        (claim(request()), "", ""),
        (claim({"name": "r", "firstAvailable": [{"name": "a", **EXACTLY}]}), "", ""),
        (claim(request(allocationMode="All", count=0)), "", ""),
        (claim(request(selectors=[{"cel": {"expression": "device.driver == 'd'"}}])), "", ""),
        (
            claim(request(selectors=[{"cel": {"expression": "devise == 'd'"}}])),
            f"{FIRST}.exactly.selectors[0].cel.expression",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'devise'",
        ),
        (
            claim(request(selectors=[{"cel": {"expression": "'text'"}}])),
            f"{FIRST}.exactly.selectors[0].cel.expression",
            "must evaluate to bool or the unknown type, not string",
        ),
        (claim({"name": "R", "exactly": EXACTLY}), f"{FIRST}.name", LABEL),
        (claim({"name": "r"}), FIRST, "exactly one of `exactly` or `firstAvailable` is required"),
        (
            claim({"name": "r", "exactly": EXACTLY, "firstAvailable": [{"name": "a", **EXACTLY}]}),
            FIRST,
            "Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple",
        ),
        (claim(request(), request()), "spec.devices.requests[1]", 'Duplicate value: "r"'),
        (claim(*({**request(), "name": f"r{n}"} for n in range(33))), "spec.devices.requests", "Too many: 33"),
        (claim(request(deviceClassName="")), f"{FIRST}.exactly.deviceClassName", "Required value"),
        (claim(request(allocationMode="Some")), f"{FIRST}.exactly.allocationMode", '"All", "ExactCount"'),
        (claim(request(count=0)), f"{FIRST}.exactly.count", "must be greater than zero"),
        (
            claim(request(allocationMode="All")),
            f"{FIRST}.exactly.count",
            "when allocationMode is 'All'",
        ),
        (claim(request(selectors=[{}])), f"{FIRST}.exactly.selectors[0].cel", "Required value"),
        (
            claim(request(selectors=[{"cel": {"expression": "x" * 10241}}])),
            f"{FIRST}.exactly.selectors[0].cel.expression",
            "Too long: may not be more than 10240 bytes",
        ),
        (
            claim(request(tolerations=[{"operator": "Exists", "value": "v"}])),
            f"{FIRST}.exactly.tolerations[0].value",
            "must be empty for operator `Exists`",
        ),
        (claim(request(), constraints=[{"matchAttribute": "d.example.com/numa"}]), "", ""),
        (
            claim(request(), constraints=[{"matchAttribute": "numa"}]),
            "spec.devices.constraints[0].matchAttribute",
            "a fully qualified name must be a domain and a name separated by a slash",
        ),
        (claim(request(), constraints=[{}]), "spec.devices.constraints[0]", 'exactly one of "matchAttribute" or'),
        (claim(request(), config=[{"requests": ["r"], **OPAQUE}]), "", ""),
        (claim(request(), config=[{"requests": ["q"], **OPAQUE}]), "spec.devices.config[0].requests[0]", OF_CLAIM),
        (
            claim(request(), config=[{"opaque": {"driver": "d", "parameters": [1]}}]),
            "spec.devices.config[0].opaque.parameters",
            'Invalid value: "<value omitted>": must be a valid JSON object',
        ),
    ],
)
def test_what_a_claim_may_ask_for(obj: dict[str, Any], field: str, said: str) -> None:
    found(device_claim_validation.claim(obj), field, said)
    inner = {"metadata": {"name": "t", "namespace": "n"}, "spec": {"spec": obj["spec"]}}
    found(device_claim_validation.template(inner), field and f"spec.{field}", said)


def test_what_is_asked_for_stays() -> None:
    changed = device_claim_validation.claim_update(claim(request(count=2)), claim(request()))
    found(changed, "spec", "field is immutable")
    assert '{"Devices":{"Requests":[{"Name":' in changed[0].message


def test_a_template_gives_labels_and_annotations_only() -> None:
    spec = {"metadata": {"labels": {"a": "b"}, "name": "x"}, "spec": claim(request())["spec"]}
    found(device_claim_validation.template({"metadata": {}, "spec": spec}), "spec.metadata.name", "cannot be set")


def test_a_request_is_for_one_device_unless_it_says_otherwise() -> None:
    resource = lookup("resource.k8s.io", "v1", "resourceclaims")
    assert resource is not None
    obj = claim({"name": "r", "exactly": {"deviceClassName": "gpu", "tolerations": [{"key": "k"}]}})
    defaulting.default(resource, obj)
    exactly = obj["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)
    assert exactly["tolerations"] == [{"key": "k", "operator": "Equal"}]


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"selectors": [{"cel": {"expression": "true"}}], "config": [OPAQUE]}, "", ""),
        ({"extendedResourceName": "example.com/gpu"}, "", ""),
        ({"extendedResourceName": "gpu"}, "spec.extendedResourceName", "must be a valid extended resource name"),
        ({"config": [{}]}, "spec.config[0].opaque", "Required value"),
        ({"selectors": [{"cel": {"expression": ""}}]}, "spec.selectors[0].cel.expression", "compilation failed: ERROR"),
    ],
)
def test_device_classes(spec: dict[str, Any], field: str, said: str) -> None:
    found(device_claim_validation.device_class({"metadata": {"name": "c"}, "spec": spec}), field, said)


RESULT = {"request": "r", "driver": "d.example.com", "pool": "node-1/pool", "device": "gpu-0"}
ALLOCATED = {"devices": {"results": [RESULT]}}
CONSUMER = {"resource": "pods", "name": "p", "uid": "u"}


def with_status(**status: Any) -> dict[str, Any]:
    return {**claim(request()), "status": status}


@pytest.mark.parametrize(
    ("new", "old", "field", "said"),
    [
        (with_status(allocation=ALLOCATED, reservedFor=[CONSUMER]), with_status(), "", ""),
        (with_status(allocation=ALLOCATED), with_status(allocation=ALLOCATED), "", ""),
        (
            with_status(allocation={"devices": {"results": []}}),
            with_status(allocation=ALLOCATED),
            "status.allocation",
            "field is immutable",
        ),
        (
            with_status(allocation={"devices": {"results": [{**RESULT, "request": "q"}]}}),
            with_status(),
            "status.allocation.devices.results[0].request",
            OF_CLAIM,
        ),
        (
            with_status(reservedFor=[CONSUMER]),
            with_status(),
            "status.reservedFor",
            "may not be specified when `allocated` is not set",
        ),
        (
            with_status(allocation=ALLOCATED, reservedFor=[CONSUMER, CONSUMER]),
            with_status(),
            "status.reservedFor[1]",
            'Duplicate value: "u"',
        ),
        (
            with_status(allocation=ALLOCATED, devices=[{**RESULT, "device": "gpu-1"}]),
            with_status(),
            "status.devices[0]",
            "must be an allocated device in the claim",
        ),
        (
            with_status(allocation=ALLOCATED, devices=[{**RESULT, "networkData": {"ips": ["10.0.0.1"]}}]),
            with_status(),
            "status.devices[0].networkData.ips[0]",
            "must be a valid address in CIDR form",
        ),
    ],
)
def test_what_a_claims_status_may_say(new: dict[str, Any], old: dict[str, Any], field: str, said: str) -> None:
    found(device_status_validation.claim_status(new, old), field, said)


def slices(*devices: dict[str, Any], **more: Any) -> dict[str, Any]:
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "d.example.com", "pool": pool, "nodeName": "n", "devices": list(devices), **more}
    return {"metadata": {"name": "s"}, "spec": {name: value for name, value in spec.items() if value is not None}}


def device(**more: Any) -> dict[str, Any]:
    return {"name": "gpu", **more}


RANGE = {"default": "1", "validRange": {"min": "1", "max": "8", "step": "2"}}


@pytest.mark.parametrize(
    ("obj", "field", "said"),
    [
        (slices(device(attributes={"model": {"string": "x"}}, capacity={"memory": {"value": "8Gi"}})), "", ""),
        (slices(driver=""), "spec.driver", "Required value"),
        (slices(nodeName=None), "spec", "exactly one of `nodeName`, `nodeSelector`, `allNodes`"),
        (slices(allNodes=True), "spec", "{`nodeName`, `allNodes`}"),
        (slices(allNodes=False), "spec.allNodes", "must be either unset or set to true"),
        (slices(pool={"name": "p", "generation": -1, "resourceSliceCount": 1}), "spec.pool.generation", "greater than"),
        (slices(device(), device()), "spec.devices[1]", 'Duplicate value: "gpu"'),
        (slices(*(device(name=f"d{n}") for n in range(129))), "spec.devices", "Too many: 129: must have at most 128"),
        (
            slices(*({**device(name=f"d{n}"), "taints": [{"key": "k", "effect": "NoExecute"}]} for n in range(65))),
            "spec.devices",
            "Too many: 65: must have at most 64",
        ),
        (slices(device(attributes={"model": {}})), "spec.devices[0].attributes[model]", "exactly one value must be"),
        (
            slices(device(attributes={"a.b/": {"int": 1}})),
            "spec.devices[0].attributes[a.b/]",
            "the name must not be empty",
        ),
        (
            slices(device(attributes={"v": {"version": "1.0"}})),
            "spec.devices[0].attributes[v].version",
            "must be a string compatible with semver.org spec 2.0.0",
        ),
        (
            slices(device(capacity={"memory": {"value": "8", "requestPolicy": RANGE}})),
            "spec.devices[0].capacity[memory].requestPolicy",
            "allowMultipleAllocations must be true",
        ),
        (
            slices(device(allowMultipleAllocations=True, capacity={"m": {"value": "8", "requestPolicy": RANGE}})),
            "spec.devices[0].capacity[m].requestPolicy.validRange.step",
            'Invalid value: "8": value is not a multiple of a given step (2) from (1)',
        ),
        (
            slices(device(taints=[{"key": "k", "effect": "Evict"}])),
            "spec.devices[0].taints[0].effect",
            '"NoExecute", "NoSchedule", "None"',
        ),
        (slices(device(nodeName="n")), "spec.devices[0]", "can only be set if `perDeviceNodeSelection` is set to true"),
        (slices(device(nodeName="n"), nodeName=None, perDeviceNodeSelection=True), "", ""),
        (
            slices(device(bindingConditions=["a"])),
            "spec.devices[0].bindingFailureConditions",
            "bindingFailureConditions are required to use bindingConditions",
        ),
        (
            slices(device(consumesCounters=[{"counterSet": "c"}])),
            "spec.devices[0].consumesCounters[0].counters",
            "Required value",
        ),
        (slices(devices=None, sharedCounters=[{"name": "c", "counters": {"m": {"value": "1"}}}]), "", ""),
    ],
)
def test_slices(obj: dict[str, Any], field: str, said: str) -> None:
    found(resource_slice_validation.resource_slice(obj), field, said)


def test_whose_a_slice_is_stays() -> None:
    causes = resource_slice_validation.resource_slice_update(slices(driver="e.example.com", nodeName="m"), slices())
    assert [cause.field for cause in causes] == ["spec.driver", "spec.nodeName"]
