"""What passes validation can be stored, read, written again and patched: of every kind, whatever it holds.

Objects are good examples of a kind with a few fields set, or taken away, as the kind's schema allows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from harness.authority import signing_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.cluster.objects.test_validation import GOOD

from oarlock.cluster.objects import codec, defaulting, patches, strategic, strategy, validation
from oarlock.cluster.objects.apply import ownership
from oarlock.cluster.objects.decoding import conform, conform_changed, decode, parts_of
from oarlock.cluster.objects.resources import RESOURCES, Resource, lookup
from oarlock.cluster.objects.schemas import Schema, schema_for
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
_TEXTS = st.sampled_from(("", "a", "x-1", "Always", "Never", "TCP", "10.0.0.1", "1Gi", "a/b", "Not Valid!", "ü"))
_SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "string": _TEXTS,
    "bool": st.booleans(),
    "int32": st.sampled_from((-1, 0, 1, 2, 80, 600, 70000)),
    "int64": st.sampled_from((-1, 0, 1, 2, 600)),
    "double": st.sampled_from((0.5, 1)),
    "bytes": st.sampled_from(("", "YQ==")),
    "any": st.sampled_from(({}, {"a": 1}, None)),
    "quantity": st.sampled_from(("0", "1", "100m", "1Gi", "1000m", "-1")),
    "int-or-string": st.sampled_from((0, 1, "25%", "http")),
    "time": st.just("2026-01-02T03:04:05Z"),
    "micro-time": st.just("2026-01-02T03:04:05.000006Z"),
}
_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_TEMPLATE: Obj = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
_SCALED: Obj = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
_HOOK: Obj = {
    "name": "a.example.com",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "clientConfig": {"url": "https://example.com/hook"},
}
_REQUEST: Obj = {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}
_ROOM: Obj = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
_INVOLVED: Obj = {"kind": "Pod", "namespace": "default", "name": "p"}
_TOLD: Obj = {
    "eventTime": "2026-01-02T03:04:05.000006Z",
    "reportingController": "example.com/c",
    "reportingInstance": "c-1",
    "action": "Did",
    "reason": "R",
    "type": "Normal",
    "regarding": _INVOLVED,
}
_AGGREGATED: Obj = {"group": "a.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}
_SIGNED: Obj = {"request": signing_request(), "signerName": "example.com/s", "usages": ["client auth"]}
_PARENT: Obj = {"group": "", "resource": "services", "namespace": "default", "name": "s"}
_ATTACHED: Obj = {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
_MATCHED: Obj = {
    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
}
_VALIDATING: Obj = {"matchConstraints": _MATCHED, "validations": [{"expression": "true"}]}
_MUTATING: Obj = {
    "matchConstraints": _MATCHED,
    "reinvocationPolicy": "Never",
    "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
}
_DEFINED: Obj = {
    "group": "example.com",
    "scope": "Namespaced",
    "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
    "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
}
_SLICE: Obj = {
    "driver": "d.example.com",
    "nodeName": "n",
    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
    "devices": [{"name": "g"}],
}
_LEVEL: Obj = {
    "type": "Limited",
    "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}},
}
#: A good object of every kind that the other tests have none of.
MORE: list[tuple[str, str, Obj]] = [
    ("", "endpoints", {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}),
    ("", "limitranges", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}),
    ("", "persistentvolumes", {"spec": {**_ROOM, "hostPath": {"path": "/d"}}}),
    ("", "podtemplates", {"template": _TEMPLATE}),
    ("", "replicationcontrollers", {"spec": {"selector": {"app": "x"}, "template": _TEMPLATE}}),
    ("", "resourcequotas", {"spec": {"hard": {"pods": "1"}}}),
    ("", "serviceaccounts", {"secrets": [{"name": "s"}]}),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", {"webhooks": [_HOOK]}),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", {"webhooks": [_HOOK]}),
    ("apps", "controllerrevisions", {"data": {"a": 1}, "revision": 1}),
    ("autoscaling", "horizontalpodautoscalers", {"spec": {"scaleTargetRef": _SCALED, "maxReplicas": 3}}),
    ("discovery.k8s.io", "endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}]}),
    ("networking.k8s.io", "ingressclasses", {"spec": {"controller": "example.com/c"}}),
    (
        "networking.k8s.io",
        "ingresses",
        {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
    ),
    ("networking.k8s.io", "networkpolicies", {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}}),
    ("node.k8s.io", "runtimeclasses", {"handler": "runc"}),
    ("policy", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
    ("rbac.authorization.k8s.io", "roles", {"rules": _RULES}),
    (
        "rbac.authorization.k8s.io",
        "rolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}},
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}},
    ),
    ("resource.k8s.io", "deviceclasses", {"spec": {}}),
    ("resource.k8s.io", "resourceclaims", {"spec": {"devices": _REQUEST}}),
    ("resource.k8s.io", "resourceclaimtemplates", {"spec": {"spec": {"devices": _REQUEST}}}),
    ("scheduling.k8s.io", "priorityclasses", {"value": 10}),
    ("storage.k8s.io", "csidrivers", {"spec": {}}),
    ("storage.k8s.io", "storageclasses", {"provisioner": "example.com/p"}),
    ("storage.k8s.io", "volumeattributesclasses", {"driverName": "d.example.com", "parameters": {"a": "b"}}),
    (
        "",
        "events",
        {"metadata": {"namespace": "default"}, "involvedObject": _INVOLVED, "reason": "R", "type": "Normal"},
    ),
    ("events.k8s.io", "events", {"metadata": {"namespace": "default"}, **_TOLD}),
    ("apiregistration.k8s.io", "apiservices", {"metadata": {"name": "v1.a.example.com"}, "spec": _AGGREGATED}),
    ("certificates.k8s.io", "certificatesigningrequests", {"spec": _SIGNED}),
    ("networking.k8s.io", "ipaddresses", {"metadata": {"name": "10.0.0.7"}, "spec": {"parentRef": _PARENT}}),
    ("networking.k8s.io", "servicecidrs", {"spec": {"cidrs": ["10.9.0.0/24"]}}),
    ("storage.k8s.io", "csinodes", {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}}),
    ("storage.k8s.io", "csistoragecapacities", {"storageClassName": "s", "capacity": "1Gi"}),
    ("storage.k8s.io", "volumeattachments", {"spec": _ATTACHED}),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", {"spec": _MUTATING}),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", {"spec": {"policyName": "p"}}),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", {"spec": _VALIDATING}),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        {"spec": {"policyName": "p", "validationActions": ["Deny"]}},
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions", {"metadata": {"name": "ws.example.com"}, "spec": _DEFINED}),
    ("resource.k8s.io", "resourceslices", {"spec": _SLICE}),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", {"spec": {"priorityLevelConfiguration": {"name": "p"}}}),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", {"spec": _LEVEL}),
]
EXAMPLES = [*GOOD, *MORE]
#: What the server fills in, and lists of what the schema can't say.
_LEFT_ALONE = frozenset({"kind", "apiVersion", "metadata", "status"})
#: Empty, it may be created and not written again: upstream forbids an update to an empty one, from whatever it was.
_NOT_REPEATABLE = "volumeAttributesClassName"
_DEPTH_MAX = 4


def _values(schema: Schema, depth: int) -> st.SearchStrategy[Any]:
    if schema.kind == "object":
        names = sorted(set(schema.fields) - {_NOT_REPEATABLE}) if depth < _DEPTH_MAX else []
        some = st.lists(st.sampled_from(names), max_size=2, unique=True) if names else st.just([])
        return some.flatmap(
            lambda chosen: st.fixed_dictionaries({name: _values(schema.fields[name], depth + 1) for name in chosen})
        )
    if schema.kind in {"list", "map"}:
        assert schema.items is not None
        items = _values(schema.items, depth + 1)
        return st.lists(items, max_size=2) if schema.kind == "list" else st.dictionaries(_TEXTS, items, max_size=2)
    return _SCALARS[schema.kind]


def _places(schema: Schema, value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Schema]]:
    """Every field that is or could be in `value`, by its path."""
    if schema.kind == "object":
        for name, field in schema.fields.items():
            if (not path and name in _LEFT_ALONE) or name == _NOT_REPEATABLE:
                continue
            yield (*path, name), field
            if isinstance(value, dict) and name in value:
                yield from _places(field, value[name], (*path, name))
    elif schema.kind == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            assert schema.items is not None
            yield from _places(schema.items, item, (*path, index))


def _at(obj: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        obj = obj[step]
    return obj


@st.composite
def _bodies(draw: st.DrawFn, resource: Resource, body: Obj) -> Obj:
    """A good example with up to three of its fields set otherwise, or taken away."""
    schema = schema_for(resource)
    changed = copy.deepcopy(body)
    for _ in range(draw(st.integers(0, 3))):
        path, field = draw(st.sampled_from(list(_places(schema, changed))))
        holder = _at(changed, path[:-1])
        if draw(st.booleans()) and path[-1] in holder:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(_values(field, 1))
    return changed


def _resource(group: str, plural: str) -> Resource:
    found = lookup(group, "v1", plural) or lookup(group, "v2", plural)
    assert found is not None, plural
    return found


def _made(resource: Resource, body: Obj) -> Obj | None:
    """The object as it would be stored, or None where the server refuses it."""
    named = {**body, "metadata": {"name": "x", **body.get("metadata", {})}}
    try:
        obj = decode(resource, json.dumps(named).encode()).object
    except ApiError:
        return None
    obj["metadata"]["uid"] = "01ae1207-1c7a-4272-be7a-9351224d55f6"
    if resource.namespaced:
        obj["metadata"].setdefault("namespace", "default")
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    return None if validation.validate_create(resource, obj) else obj


def _canonical(resource: Resource, obj: Obj) -> Obj:
    """The object as an update makes it of a body: the status stays as it is stored, empty lists of upstream's too."""
    made = conform(schema_for(resource), resource.group, resource.version, resource.kind, obj).object
    defaulting.default(resource, made)
    strategy.prepare_update(resource, made, copy.deepcopy(obj))
    return made


def _conformed(resource: Resource, changed: Obj, old: Obj, stored: Mapping[str, bytes]) -> Obj | None:
    """What an update makes of it, None where it is refused. The status stays as upstream stores it, nulls and all."""
    try:
        made = conform_changed(resource, copy.deepcopy(changed), stored).object
    except ApiError:
        return None
    defaulting.default(resource, made)
    strategy.prepare_update(resource, made, copy.deepcopy(old))
    return made


_MANAGER = ownership.Manager("me", "v1", "2026-01-02T03:04:05Z", "")


def _applied(resource: Resource, obj: Obj) -> Obj:
    """What somebody applies who cares about one label only."""
    identity = {name: obj["metadata"][name] for name in ("name", "namespace") if name in obj["metadata"]}
    metadata = {**identity, "labels": {"patched": "yes"}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def test_every_kind_that_is_stored_has_an_example() -> None:
    stored = {(one.group, one.plural) for one in RESOURCES if {"create", "get"} <= one.verbs}
    assert stored == {(group, plural) for group, plural, _ in EXAMPLES}


def test_the_examples_are_good() -> None:
    refused = [plural for group, plural, body in EXAMPLES if _made(_resource(group, plural), body) is None]
    assert refused == []


@pytest.mark.parametrize(("group", "plural", "body"), EXAMPLES, ids=[row[1] for row in EXAMPLES])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_valid_lasts(data: st.DataObject, group: str, plural: str, body: Obj) -> None:
    resource = _resource(group, plural)
    obj = _made(resource, data.draw(_bodies(resource, body)))
    if obj is None:
        return
    # It is stored and read again as it was, and what is read is in canonical form.
    read = codec.decode(codec.encode(obj), 7)
    assert read["metadata"].pop("resourceVersion") == "7"
    assert read == obj
    assert _canonical(resource, read) == obj
    # It has all its defaults.
    again = copy.deepcopy(obj)
    defaulting.default(resource, again)
    assert again == obj
    # It may replace itself.
    old = copy.deepcopy(obj)
    old["metadata"]["resourceVersion"] = "7"
    new = copy.deepcopy(old)
    strategy.prepare_update(resource, new, old)
    assert new == old
    assert validation.validate_update(resource, new, old) == []
    # However it is changed, it is brought into form alike whether or not its unchanged parts are looked at.
    other = data.draw(_bodies(resource, old))
    quickly, slowly = (_conformed(resource, other, old, known) for known in (parts_of(resource, old), {}))
    assert quickly == slowly
    assert list(quickly or ()) == list(slowly or ())
    # Patches of every type change what they name and nothing else.
    wanted = copy.deepcopy(old)
    wanted["metadata"].setdefault("labels", {})["patched"] = "yes"
    fragment = {"metadata": {"labels": {"patched": "yes"}}}
    pointed = [{"op": "add", "path": "/metadata/labels", "value": wanted["metadata"]["labels"]}]
    for patched in (
        patches.merge_patch(copy.deepcopy(old), fragment),
        patches.json_patch(copy.deepcopy(old), pointed),
        strategic.strategic_merge(copy.deepcopy(old), fragment, schema_for(resource)),
        ownership.applied(schema_for(resource), [], copy.deepcopy(old), _applied(resource, old), _MANAGER, force=False)[
            0
        ],
    ):
        assert _canonical(resource, patched) == wanted
        assert validation.validate_update(resource, copy.deepcopy(patched), old) == []
