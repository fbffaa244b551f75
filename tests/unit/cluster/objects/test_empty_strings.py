"""Optional strings that Go holds by pointers: an explicit "" is something else than nothing, and is judged."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, created, new

Obj = dict[str, Any]
SLICES, CLASSES = "resource.k8s.io/v1/resourceslices", "resource.k8s.io/v1/deviceclasses"
CLAIMS, VOLUMES = "resource.k8s.io/v1/resourceclaims", "v1/persistentvolumes"


def piece(**spec: Any) -> Obj:
    return {"spec": {"driver": "example.com", "pool": {"name": "p", "resourceSliceCount": 1}, **spec}}


def constrained(**constraint: Any) -> Obj:
    requests = [{"name": "r", "exactly": {"deviceClassName": "c"}}]
    return {"spec": {"devices": {"requests": requests, "constraints": [constraint]}}}


def fields(causes: Told) -> list[str]:
    return [field for field, _ in causes]


def test_a_slice_on_a_node_without_a_name() -> None:
    assert new(SLICES, piece(nodeName=""))["spec"]["nodeName"] == ""
    assert ("spec.nodeName", 'Invalid value: "": must be either unset or set to a non-empty string') in created(
        SLICES, piece(nodeName="")
    )
    assert "spec.nodeName" not in fields(created(SLICES, piece(allNodes=True)))


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (CLASSES, {"spec": {"extendedResourceName": ""}}, ("spec", "extendedResourceName")),
        (CLAIMS, constrained(matchAttribute=""), ("spec", "devices", "constraints", 0, "matchAttribute")),
        (CLAIMS, constrained(distinctAttribute=""), ("spec", "devices", "constraints", 0, "distinctAttribute")),
        (
            VOLUMES,
            {"spec": {"glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": ""}}},
            ("spec", "glusterfs", "endpointsNamespace"),
        ),
    ],
)
def test_it_is_kept(path: str, body: Obj, place: tuple[Any, ...]) -> None:
    held: Any = new(path, body)
    for step in place:
        held = held[step]
    assert held == ""
    assert any(field.endswith(str(place[-1])) for field in fields(created(path, body)))
