"""CustomResourceDefinitions that are refused, with the fields and words that clients see."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from oarlock.cluster.objects import defaulting, strategy, validation
from oarlock.cluster.objects.resources import lookup
from oarlock.cluster.objects.status import Cause

Change = tuple[str, Any]
GONE = object()
SCHEMA = "spec/versions/0/schema/openAPIV3Schema"
TOLD = "spec.validation.openAPIV3Schema"
LIST = f"{SCHEMA}/properties/spec/properties/ports"
LABEL = "a DNS-1035 label must consist of lower case alphanumeric characters or '-'"


def widgets(*changes: Change) -> dict[str, Any]:
    """A definition that upstream takes, with some places changed: `a/b/0/c` names one."""
    item = {
        "type": "object",
        "required": ["port"],
        "properties": {"port": {"type": "integer"}, "name": {"type": "string"}},
    }
    spec = {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 3},
            "mode": {"type": "string", "enum": ["A", "B"]},
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port"],
                "items": item,
            },
        },
    }
    obj: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                    },
                    "selectableFields": [{"jsonPath": ".spec.mode"}],
                }
            ],
        },
    }
    for path, value in changes:
        change(obj, path, value)
    return obj


def change(obj: Any, path: str, value: Any) -> None:
    *steps, last = path.split("/")
    for step in steps:
        obj = obj[int(step)] if isinstance(obj, list) else obj[step]
    if value is GONE:
        del obj[last]
    else:
        obj[int(last) if isinstance(obj, list) else last] = value


def created(obj: dict[str, Any]) -> list[Cause]:
    resource = lookup("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert resource is not None
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    return validation.validate_create(resource, obj)


def updated(obj: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    resource = lookup("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert resource is not None
    created(old)
    defaulting.default(resource, obj)
    strategy.prepare_update(resource, obj, old)
    return validation.validate_update(resource, obj, old)


def shown(causes: list[Cause]) -> str:
    return "\n".join(f"{cause.field}: {cause.message}" for cause in causes)


def test_a_good_definition_gets_its_names_and_its_storage_version() -> None:
    obj = widgets()
    assert created(obj) == []
    assert obj["spec"]["names"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
    }
    assert obj["spec"]["conversion"] == {"strategy": "None"}
    assert obj["status"]["storedVersions"] == ["v1"]


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ([("metadata/name", "gadgets.example.com")], "metadata.name", 'must be spec.names.plural+"."+spec.group'),
        (
            [("spec/group", "example"), ("metadata/name", "widgets.example")],
            "spec.group",
            "should be a domain with at least one dot",
        ),
        (
            [("spec/scope", "World")],
            "spec.scope",
            'Unsupported value: "World": supported values: "Cluster", "Namespaced"',
        ),
        (
            [("spec/names/kind", "Wid get")],
            "spec.names.kind",
            f"may have mixed case, but should otherwise match: {LABEL}",
        ),
        ([("spec/names/listKind", "Widget")], "spec.names.listKind", "kind and listKind may not be the same"),
        ([("spec/names/shortNames", ["W"])], "spec.names.shortNames[0]", f'Invalid value: "W": {LABEL}'),
        (
            [("spec/preserveUnknownFields", True)],
            "spec.preserveUnknownFields",
            "must be false in order to use defaults",
        ),
        ([("spec/versions/0/schema", {})], "spec.versions[0].schema.openAPIV3Schema", "Required value"),
        (
            [("spec/versions/0/deprecationWarning", "old")],
            "spec.versions[0].deprecationWarning",
            "can only be set for deprecated versions",
        ),
        ([(f"{SCHEMA}/type", "array")], f"{TOLD}.type", 'only "object" is allowed as the type at the root'),
        ([(f"{SCHEMA}/maxProperties", 3)], TOLD, '"MaxProperties":3'),
        ([(f"{SCHEMA}/nullable", True)], TOLD, "fields are allowed at the root"),
        (
            [(f"{SCHEMA}/properties/metadata", {"type": "object", "properties": {"labels": {"type": "object"}}})],
            f"{TOLD}.properties[metadata]",
            "must not specify anything other than name and generateName",
        ),
        ([(f"{LIST}/items", GONE)], f"{TOLD}.properties[spec].properties[ports].items", "must be specified"),
        ([(f"{LIST}/uniqueItems", True)], f"{TOLD}.properties[spec].properties[ports].uniqueItems", "quadratic"),
        (
            [(f"{LIST}/x-kubernetes-list-map-keys", ["host"])],
            f"{TOLD}.properties[spec].properties[ports].x-kubernetes-list-map-keys",
            "entries must all be names of item properties",
        ),
        (
            [(f"{LIST}/x-kubernetes-list-map-keys", ["name"])],
            f"{TOLD}.properties[spec].properties[ports].items.properties[name].default",
            "must have a default or be a required property",
        ),
        (
            [(f"{LIST}/x-kubernetes-list-type", "set")],
            f"{TOLD}.properties[spec].properties[ports].items.x-kubernetes-map-type",
            "must be atomic as item of a list",
        ),
        (
            [(f"{SCHEMA}/properties/spec/properties/size/default", 0)],
            f"{TOLD}.properties[spec].properties[size].default",
            "Invalid value: 0:  in body should be greater than or equal to 1",
        ),
        (
            [(f"{SCHEMA}/properties/spec/properties/mode/default", "C")],
            f"{TOLD}.properties[spec].properties[mode].default",
            'Unsupported value: "C": supported values: "A", "B"',
        ),
        (
            [(f"{SCHEMA}/properties/spec/default", {"color": "red"})],
            f"{TOLD}.properties[spec].default",
            "must not have unknown fields",
        ),
        (
            [(f"{SCHEMA}/properties/spec/properties/mode/pattern", "a(?=b)")],
            f"{TOLD}.properties[spec].properties[mode].pattern",
            "but isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
        ),
        (
            [(f"{SCHEMA}/properties/spec/anyOf", [{"required": ["size"]}, {"type": "object"}])],
            f"{TOLD}.properties[spec].anyOf[1].type",
            "must be empty to be structural",
        ),
        (
            [("spec/versions/0/subresources", GONE), (f"{SCHEMA}/not", {"properties": {"other": {"pattern": "x"}}})],
            f"{TOLD}.properties[other]",
            "because it is defined in spec.validation.openAPIV3Schema.not.properties[other]",
        ),
        (
            [(f"{SCHEMA}/properties/spec/additionalProperties", {"type": "string"})],
            f"{TOLD}.properties[spec].additionalProperties",
            "additionalProperties and properties are mutual exclusive",
        ),
        (
            [(f"{SCHEMA}/properties/spec/x-kubernetes-validations", [{"rule": "a\nb"}])],
            f"{TOLD}.properties[spec].x-kubernetes-validations[0].message",
            "message must be specified if rule contains line breaks",
        ),
        (
            [(f"{SCHEMA}/properties/spec/x-kubernetes-validations", [{"rule": "true", "fieldPath": ".sizes"}])],
            f"{TOLD}.properties[spec].x-kubernetes-validations[0].fieldPath",
            "fieldPath must be a valid path",
        ),
        (
            [(f"{SCHEMA}/properties/spec/properties/size/x-kubernetes-int-or-string", True)],
            "",
            "",
        ),
        (
            [("spec/versions/0/subresources/scale/specReplicasPath", ".status.size")],
            "spec.subresources.scale.specReplicasPath",
            "should be a json path under .spec",
        ),
        (
            [("spec/versions/0/additionalPrinterColumns", [{"name": "S", "type": "size", "jsonPath": ".spec.size"}])],
            "spec.additionalPrinterColumns[0].type",
            "must be one of boolean,date,integer,number,string",
        ),
        (
            [("spec/versions/0/selectableFields/0/jsonPath", ".spec.ports")],
            "spec.selectableFields[0].jsonPath",
            "must point to a field of type string, boolean or integer.",
        ),
        (
            [("spec/versions/0/selectableFields/0/jsonPath", ".spec['mode']")],
            "spec.selectableFields[0].jsonPath",
            "is an invalid path: array notation is not allowed",
        ),
        (
            [("spec/conversion", {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}})],
            "spec.conversion.webhookClientConfig",
            "required when strategy is set to Webhook",
        ),
        (
            [("spec/conversion", {"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}})],
            "spec.conversion.conversionReviewVersions",
            "should not be set when strategy is not set to Webhook",
        ),
        (
            [
                (
                    "spec/conversion",
                    {
                        "strategy": "Webhook",
                        "webhook": {
                            "clientConfig": {"url": "http://a.example.com/x"},
                            "conversionReviewVersions": ["v1"],
                        },
                    },
                )
            ],
            "spec.conversion.webhookClientConfig.url",
            "'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            [("spec/group", "x.k8s.io"), ("metadata/name", "widgets.x.k8s.io")],
            "metadata.annotations[api-approved.kubernetes.io]",
            'protected groups must have approval annotation "api-approved.kubernetes.io"',
        ),
    ],
)
def test_what_a_definition_may_say(changes: list[Change], field: str, said: str) -> None:
    causes = created(widgets(*changes))
    if not field:
        assert causes == []
        return
    assert (field, True) in [(cause.field, said in cause.message) for cause in causes], shown(causes)


def test_versions_that_differ_are_told_apart() -> None:
    obj = widgets()
    second = copy.deepcopy(obj["spec"]["versions"][0])
    change(second, "schema/openAPIV3Schema/properties/spec/type", "number")
    change(second, "selectableFields", GONE)
    obj["spec"]["versions"].append({**second, "name": "v2"})
    causes = created(obj)
    assert causes[0].field == "spec.versions"
    assert '"Name":"v2","Served":true,"Storage":true' in causes[0].message
    assert '"Type":"number"' in causes[0].message
    assert causes[0].message.endswith("must have exactly one version marked as storage version")


def test_selectable_fields_that_versions_share_need_a_shared_schema() -> None:
    """Upstream looks for the schema where it moved the fields to, though versions may have schemas of their own."""
    obj = widgets()
    second = copy.deepcopy(obj["spec"]["versions"][0])
    change(second, "schema/openAPIV3Schema/description", "another")
    obj["spec"]["versions"].append({**second, "name": "v2", "storage": False})
    assert shown(created(obj)) == (
        'spec.selectableFields: Invalid value: "": may only be set when validations.schema is included'
    )


def test_names_are_fixed_once_the_kind_is_served() -> None:
    old, new = widgets(), widgets(("spec/names/kind", "Gadget"), ("spec/scope", "Cluster"))
    assert updated(copy.deepcopy(new), copy.deepcopy(old)) == []
    created(old)
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    resource = lookup("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert resource is not None
    defaulting.default(resource, new)
    strategy.prepare_update(resource, new, old)
    causes = validation.validate_update(resource, new, old)
    assert [(cause.field, cause.message) for cause in causes] == [
        ("spec.scope", 'Invalid value: "Cluster": field is immutable'),
        ("spec.names.kind", 'Invalid value: "Gadget": field is immutable'),
    ]


def test_a_version_with_stored_objects_can_not_go() -> None:
    renamed = widgets(("spec/versions/0/name", "v2"))
    causes = updated(renamed, widgets())
    assert renamed["status"]["storedVersions"] == ["v1", "v2"]
    assert [cause.field for cause in causes] == ["status.storedVersions[0]"]
    assert causes[0].message.startswith('Invalid value: "v1": missing from spec.versions; v1 was previously')


def test_what_the_stored_definition_breaks_already_the_new_one_may() -> None:
    old = widgets((f"{LIST}/x-kubernetes-list-map-keys", ["name"]))
    assert updated(copy.deepcopy(old), old) == []
