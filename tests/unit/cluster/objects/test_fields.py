"""Selectable fields of the built-in kinds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from oarlock.cluster.objects import fields, resources, selectors
from oarlock.cluster.objects.glimpse import Glimpse
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError


def resource(group: str, plural: str) -> Resource:
    found = resources.lookup(group, "v1", plural)
    assert found is not None
    return found


POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "node-1", "hostNetwork": True, "restartPolicy": "Always"},
    "status": {"phase": "Running", "podIPs": [{"ip": "10.1.1.1"}, {"ip": "fd00::1"}]},
}


@pytest.mark.parametrize(
    ("group", "plural", "obj", "text", "chosen"),
    [
        ("", "pods", POD, "spec.nodeName=node-1,status.phase=Running", True),
        ("", "pods", POD, "spec.hostNetwork=true,status.podIP=10.1.1.1", True),
        ("", "pods", POD, "metadata.namespace!=n", False),
        ("", "pods", {"metadata": {"name": "p"}}, "spec.nodeName=", True),
        ("", "nodes", {"metadata": {"name": "a"}}, "spec.unschedulable=false", True),
        ("", "nodes", {"metadata": {"name": "a"}, "spec": {"unschedulable": True}}, "spec.unschedulable=true", True),
        ("", "secrets", {"metadata": {"name": "a"}, "type": "Opaque"}, "type!=Opaque", False),
        ("", "replicationcontrollers", {"metadata": {"name": "a"}}, "status.replicas=0", True),
        ("batch", "jobs", {"metadata": {"name": "a"}, "status": {"succeeded": 2}}, "status.successful=2", True),
        (
            "",
            "events",
            {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Killing"},
            "involvedObject.name=p,involvedObject.kind=Pod,reason=Killing",
            True,
        ),
        (
            "events.k8s.io",
            "events",
            {"metadata": {"name": "e"}, "regarding": {"name": "p"}},
            "regarding.name=p",
            True,
        ),
    ],
)
def test_what_field_selectors_choose(group: str, plural: str, obj: Any, text: str, chosen: bool) -> None:
    kind, selector = resource(group, plural), selectors.parse_fields(text)
    fields.check(kind, selector)
    named = {name: fields.field(kind, name) for name in selector.names}
    assert selector.matches({name: one.read(obj) for name, one in named.items()}) is chosen
    glimpsed = Glimpse(path for one in named.values() for path in one.paths).of(orjson.dumps(obj))
    assert selector.matches({name: one.read(glimpsed) for name, one in named.items()}) is chosen


@pytest.mark.parametrize(
    ("group", "plural", "message"),
    [
        ("", "pods", "field label not supported: spec.nope"),
        ("", "configmaps", '"spec.nope" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("batch", "jobs", 'field label "spec.nope" not supported for batchv1.Job'),
    ],
)
def test_unknown_fields(group: str, plural: str, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        fields.check(resource(group, plural), selectors.parse_fields("spec.nope=1"))
    assert (refusal.value.code, refusal.value.message) == (400, message)


def test_every_kind_has_a_name() -> None:
    for kind in resources.RESOURCES:
        assert fields.field(kind, fields.NAME).read({"metadata": {"name": "x"}}) == "x"
