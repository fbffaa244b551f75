"""What becomes of custom objects: pruned, defaulted, validated, counted; and which names definitions get."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from oarlock.cluster.objects import decoding, defaulting, strategy, validation
from oarlock.cluster.objects.custom import definition, naming
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

NOW = "2026-01-01T00:00:00Z"
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
        "note": {"type": "string", "nullable": True},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "default": "http"},
                    "port": {"x-kubernetes-int-or-string": True},
                },
            },
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "byName": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}},
        },
        "template": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
    },
}


def widgets(status: bool = True, **version: Any) -> dict[str, Any]:
    """An established definition of namespaced Widgets."""
    schema = {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": SPEC, "status": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        }
    }
    one = {"name": "v1", "served": True, "storage": True, "schema": schema, **version}
    if status:
        one["subresources"] = {"status": {}}
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    made: dict[str, Any] = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [one]},
        "status": {},
    }
    made["status"] = naming.status(made, (), NOW)
    return made


def resource(**how: Any) -> Resource:
    (found,) = definition.resources(widgets(**how))
    return found


def widget(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {"size": 1, **spec},
    }


def shaped(obj: dict[str, Any], kind: Resource | None = None) -> decoding.Conformed:
    kind = kind or resource()
    found = decoding.conform_to(kind, copy.deepcopy(obj))
    defaulting.default(kind, found.object)
    return found


def test_unknown_fields_go_and_are_told() -> None:
    obj = widget(nope=1, ports=[{"name": "a", "zone": "x"}], free={"kept": {"deep": 1}})
    obj["metadata"]["owner"] = "me"
    obj["extra"] = True
    found = shaped(obj)
    assert sorted(found.unknown) == ["extra", "metadata.owner", "spec.nope", "spec.ports[0].zone"]
    assert found.object["spec"] == {"size": 1, "color": "red", "ports": [{"name": "a"}], "free": {"kept": {"deep": 1}}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {"color": "red"}),
        ({"color": "blue"}, {"color": "blue"}),
        ({"color": None}, {"color": "red"}),
        ({"note": None}, {"color": "red", "note": None}),
        ({"ports": [{}]}, {"color": "red", "ports": [{"name": "http"}]}),
        ({"byName": {"a": {}}}, {"color": "red", "byName": {"a": {"n": 1}}}),
    ],
)
def test_defaults_stand_where_nothing_is(given: dict[str, Any], kept: dict[str, Any]) -> None:
    made = shaped(widget(**given)).object
    assert made["spec"] == {"size": 1, **kept}
    again = copy.deepcopy(made)
    defaulting.default(resource(), again)
    assert again == made


@pytest.mark.parametrize(
    ("given", "causes"),
    [
        ({"size": 1}, []),
        ({"size": 0}, [("FieldValueInvalid", "spec.size")]),
        ({"size": "x"}, [("FieldValueTypeInvalid", "spec.size")]),
        ({"color": "green"}, [("FieldValueNotSupported", "spec.color")]),
        ({"note": None}, []),
        ({"size": None}, [("FieldValueTypeInvalid", "spec.size")]),
        ({"tags": ["a", "b", "a"]}, [("FieldValueDuplicate", "spec.tags[2]")]),
        ({"ports": [{"port": 1}, {"name": "http"}]}, [("FieldValueDuplicate", "spec.ports[1]")]),
        ({"ports": [{"port": 1.5}]}, [("FieldValueTypeInvalid", "spec.ports[0].port")]),
        (
            {"template": {"spec": 1}},
            [("FieldValueRequired", "spec.template.apiVersion"), ("FieldValueRequired", "spec.template.kind")],
        ),
        ({"template": {"apiVersion": "v1", "kind": "Pod", "any": 1}}, []),
    ],
)
def test_new_objects_are_judged_by_their_schema(given: dict[str, Any], causes: list[tuple[str, str]]) -> None:
    made = shaped(widget(**given)).object
    found = validation.validate_create(resource(), made)
    assert [(cause.reason, cause.field) for cause in found] == causes


def test_a_missing_required_field_is_told() -> None:
    obj = widget()
    del obj["spec"]["size"]
    (cause,) = validation.validate_create(resource(), shaped(obj).object)
    assert (cause.reason, cause.field) == ("FieldValueRequired", "spec.size")


def test_another_kind_is_refused() -> None:
    obj = widget() | {"kind": "Gadget"}
    (cause,) = validation.validate_create(resource(), shaped(obj).object)
    assert (cause.field, cause.message) == ("kind", 'Invalid value: "Gadget": must be Widget')


def test_what_an_update_leaves_alone_is_not_judged_again() -> None:
    kind = resource()
    old = shaped(widget(color="green", size=1)).object | {}
    old["metadata"]["resourceVersion"] = "1"
    new = copy.deepcopy(old)
    new["spec"]["size"] = 2
    assert validation.validate_update(kind, new, old) == []
    new["spec"]["color"] = "pink"
    assert [cause.field for cause in validation.validate_update(kind, new, old)] == ["spec.color"]


def test_the_status_has_an_endpoint_of_its_own() -> None:
    kind = resource()
    obj = shaped(widget()).object | {"status": {"n": 1}}
    strategy.prepare_create(kind, obj)
    assert "status" not in obj
    assert obj["metadata"]["generation"] == 1
    new = copy.deepcopy(obj) | {"status": {"n": 2}}
    new["spec"]["size"] = 5
    strategy.prepare_update(kind, new, obj, "status")
    assert (new["status"], new["spec"]["size"], new["metadata"]["generation"]) == ({"n": 2}, 1, 1)
    changed = copy.deepcopy(new) | {"status": {"n": 3}}
    changed["spec"]["size"] = 5
    strategy.prepare_update(kind, changed, new)
    assert (changed["status"], changed["metadata"]["generation"]) == ({"n": 2}, 2)


def test_without_a_status_endpoint_everything_is_the_spec() -> None:
    kind = resource(status=False)
    obj = shaped(widget(), kind).object | {"status": {"n": 1}}
    strategy.prepare_create(kind, obj)
    assert obj["status"] == {"n": 1}
    new = copy.deepcopy(obj) | {"status": {"n": 2}}
    strategy.prepare_update(kind, new, obj)
    assert (new["status"], new["metadata"]["generation"]) == ({"n": 2}, 2)


@pytest.mark.parametrize(
    ("raw", "content_type", "code"),
    [
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"apiVersion":"example.com/v2","kind":"Widget"}', "application/json", 400),
        (b'{"apiVersion":1}', "application/json", 400),
        (b'{"metadata":{"labels":[]}}', "application/json", 400),
        (b"{}", "application/vnd.kubernetes.protobuf", 415),
    ],
)
def test_bodies_that_are_no_objects_are_refused(raw: bytes, content_type: str, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        decoding.decode(resource(), raw, content_type)
    assert refused.value.code == code


def test_versions_are_served_newest_and_stablest_first() -> None:
    made = widgets()
    versions = made["spec"]["versions"]
    for name in ("v2", "v10", "v1beta1", "v1beta2", "v2alpha1", "other"):
        versions.append({**versions[0], "name": name, "storage": False})
    versions.append({**versions[0], "name": "v9", "storage": False, "served": False})
    served = [one.version for one in definition.resources(made)]
    assert served == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "other"]


def named(plural: str, kind: str, *short: str) -> dict[str, Any]:
    made = widgets()
    made["metadata"]["name"] = f"{plural}.example.com"
    made["spec"]["names"] = {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": kind + "List"}
    if short:
        made["spec"]["names"]["shortNames"] = list(short)
    made["status"] = {}
    return made


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (named("gadgets", "Gadget", "g"), "NoConflicts"),
        (named("widget", "Gadget"), "PluralConflict"),
        (named("gadgets", "Widget"), "ListKindConflict"),
        (named("gadgets", "Gadget", "w", "widgets"), "ShortNamesConflict"),
    ],
)
def test_names_belong_to_whoever_had_them_first(wanted: dict[str, Any], reason: str) -> None:
    first = named("widgets", "Widget", "w")
    first["status"] = naming.status(first, (), NOW)
    wanted["status"] = naming.status(wanted, [first], NOW)
    accepted = definition.condition(wanted, "NamesAccepted")
    assert accepted is not None
    assert accepted["reason"] == reason
    assert definition.holds(wanted, "Established") == (reason == "NoConflicts")
    assert bool(definition.resources(wanted)) == (reason == "NoConflicts")
    assert naming.status(wanted, [first], "later") == wanted["status"]
    assert naming.is_settled(first)
    assert naming.is_settled(wanted) == (reason == "NoConflicts")


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("https://github.com/kubernetes/enhancements/pull/1", ("True", "ApprovedAnnotation")),
        ("unapproved, an experiment", ("False", "UnapprovedAnnotation")),
        ("yes", ("False", "InvalidAnnotation")),
        ("", ("False", "MissingAnnotation")),
    ],
)
def test_kinds_in_protected_groups_say_whether_they_were_approved(annotation: str, said: tuple[str, str]) -> None:
    made = named("widgets", "Widget")
    assert all("Approval" not in one["type"] for one in naming.status(made, (), NOW)["conditions"])
    made["spec"]["group"] = "example.k8s.io"
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": annotation}
    made["status"] = naming.status(made, (), NOW)
    condition = definition.condition(made, "KubernetesAPIApprovalPolicyConformant")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == said
    assert definition.holds(made, "Established")


def test_what_is_established_stays_so() -> None:
    first, second = named("widgets", "Widget"), named("gadgets", "Gadget")
    first["status"] = naming.status(first, (), NOW)
    second["status"] = naming.status(second, [first], NOW)
    second["spec"]["names"]["shortNames"] = ["widget"]
    second["status"] = naming.status(second, [first], "later")
    assert not definition.holds(second, "NamesAccepted")
    assert definition.holds(second, "Established")
