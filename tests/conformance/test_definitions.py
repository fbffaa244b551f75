"""CustomResourceDefinitions.

Stands for: "CustomResourceDefinition resources Simple CustomResourceDefinition listing/getting/updating/patching ...",
"... custom resource defaulting for requests and from storage works", "... should include custom resource definition
resources in discovery documents", "CustomResourcePublishOpenAPI works for CRD ...", "CustomResourceFieldSelectors MUST
list and watch custom resources matching the field selector", "CustomResourceValidationRules MUST (NOT) fail ...",
"CustomResourceDefinition Watch", "AggregatedDiscovery ... for CRDs", "OpenAPIV3 should publish OpenAPI V3 for
CustomResourceDefinition".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.rest import JSON_PATCH, Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
Define = Callable[..., "Custom"]


class Custom:
    """A custom kind: where its definition is, and its objects in a version."""

    def __init__(self, group: str, kind: str = "Thing") -> None:
        self.group, self.kind, self.plural = group, kind, f"{kind.lower()}s"
        self.definition = f"{DEFINITIONS}/{self.plural}.{group}"

    def path(self, version: str = "v1") -> str:
        return f"/apis/{self.group}/{version}/{self.plural}"

    def made(self, name: str, version: str = "v1", **fields: Any) -> Object:
        return {
            "apiVersion": f"{self.group}/{version}",
            "kind": self.kind,
            "metadata": {"name": name},
            **fields,
        }


@pytest.fixture
def define(api: Rest, request: pytest.FixtureRequest) -> Iterator[Define]:
    """Return a function that defines a kind of the cluster's scope, and waits until it is served."""
    made: list[Custom] = []

    def make(schema: Object = OPEN, *more: Object, labels: Object | None = None, **version: Any) -> Custom:
        number = len(made)
        custom = Custom(f"g{number}.{abs(hash(request.node.name)) % 10**8}.example.com")
        first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
        names = {"plural": custom.plural, "singular": "thing", "kind": custom.kind, "listKind": "ThingList"}
        spec = {"group": custom.group, "scope": "Cluster", "names": names, "versions": [first, *more]}
        metadata = {"name": f"{custom.plural}.{custom.group}", "labels": labels or {}}
        api.create(DEFINITIONS, {"metadata": metadata, "spec": spec})
        api.until(custom.definition, is_established)
        made.append(custom)
        return custom

    yield make
    for custom in made:
        api("DELETE", custom.definition)


def is_established(found: Object) -> bool:
    conditions = {one["type"]: one["status"] for one in found.get("status", {}).get("conditions", [])}
    return conditions.get("Established") == "True"


def test_definitions_are_listed_and_swept_by_label(api: Rest, define: Define) -> None:
    swept = [define(labels={"sweep": "yes"}) for _ in range(3)]
    other = define()
    listed = api.get(DEFINITIONS, labelSelector="sweep=yes")["items"]
    assert {one["spec"]["group"] for one in listed} == {one.group for one in swept}
    api.delete(DEFINITIONS, labelSelector="sweep=yes")
    for custom in swept:
        api.until_gone(custom.definition)
        assert api("GET", custom.path()).code == 404
    assert api("GET", other.definition).code == api("GET", other.path()).code == 200


def test_the_status_of_a_definition(api: Rest, define: Define) -> None:
    custom = define()
    added = {"type": "Added", "status": "True", "reason": "R", "message": "updated", "lastTransitionTime": None}
    path = f"{custom.definition}/status"
    assert api.get(path)["spec"] == api.get(custom.definition)["spec"]
    updated = api.changed(custom.definition, lambda found: found["status"]["conditions"].append(added), "/status")
    assert updated["status"]["conditions"][-1]["message"] == "updated"
    operation = {"op": "add", "path": "/status/conditions", "value": [{**added, "message": "patched"}]}
    patched = api.patch(path, [operation], JSON_PATCH)
    assert "patched" in [one["message"] for one in patched["status"]["conditions"]]


def test_defaults_hold_for_what_was_there_before(api: Rest, define: Define) -> None:
    text = {"type": "string"}
    custom = define({"type": "object", "properties": {"a": text, "b": text}})
    where = "/spec/versions/0/schema/openAPIV3Schema/properties"
    api.create(custom.path(), custom.made("one"))

    def served(name: str, **fields: str) -> None:
        """The server answers so at once: it looks definitions up."""
        found = api.get(f"{custom.path()}/{name}")
        assert {key: found[key] for key in ("a", "b") if key in found} == fields

    api.patch(custom.definition, [{"op": "add", "path": f"{where}/a/default", "value": "A"}], JSON_PATCH)
    served("one", a="A")
    api.create(custom.path(), custom.made("two"))
    operations = [
        {"op": "remove", "path": f"{where}/a/default"},
        {"op": "add", "path": f"{where}/b/default", "value": "B"},
    ]
    api.patch(custom.definition, operations, JSON_PATCH)
    served("one", b="B")
    served("two", a="A", b="B")
    listed = api.get(custom.path())["items"]
    assert [one["b"] for one in listed] == ["B", "B"]


def test_discovery_follows_definitions(api: Rest, define: Define) -> None:
    custom = define(OPEN, {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": OPEN}})
    groups = {one["name"]: one for one in api.get("/apis")["groups"]}
    assert [one["version"] for one in groups[custom.group]["versions"]] == ["v2", "v1"]
    assert groups[custom.group]["preferredVersion"]["version"] == "v2"
    assert api.get(f"/apis/{custom.group}")["preferredVersion"]["version"] == "v2"
    (resource,) = api.get(f"/apis/{custom.group}/v1")["resources"]
    assert (resource["name"], resource["kind"], resource["namespaced"]) == (custom.plural, custom.kind, False)
    assert set(resource["verbs"]) == {
        *("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    }

    def discovered() -> Any:
        items = api.get("/apis", accept=AGGREGATED)["items"]
        return {one["metadata"]["name"]: one["versions"] for one in items}.get(custom.group)

    assert [one["resources"][0]["resource"] for one in discovered()] == [custom.plural] * 2
    api.patch(custom.definition, [{"op": "replace", "path": "/spec/versions/1/served", "value": False}], JSON_PATCH)
    assert [one["version"] for one in discovered()] == ["v1"]
    assert api("GET", custom.path("v2")).code == 404
    api.delete(custom.definition)
    api.until_gone(custom.definition)
    assert discovered() is None
    assert api("GET", f"/apis/{custom.group}").code == 404


DOCUMENTED = {
    "type": "object",
    "description": "A thing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "What is wanted",
            "required": ["bars"],
            "properties": {
                "bars": {
                    "type": "array",
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                }
            },
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (DOCUMENTED, {"description": "A thing"}),
        (OPEN, {"x-kubernetes-preserve-unknown-fields": True}),
        (
            {"type": "object", "properties": {"spec": {**OPEN, "description": "open"}}},
            {"type": "object"},
        ),
        (
            {"type": "object", "properties": {"spec": {**OPEN, "x-kubernetes-embedded-resource": True}}},
            {"type": "object"},
        ),
    ],
    ids=["validated", "open", "open inside", "embedded"],
)
def test_documents_follow_definitions(api: Rest, define: Define, schema: Object, expected: Object) -> None:
    custom = define(schema)
    name = ".".join([*reversed(custom.group.split(".")), "v1", custom.kind])
    document = api.get("/openapi/v2")
    definition = document["definitions"][name]
    if schema is DOCUMENTED:
        assert expected.items() <= definition.items()
        assert definition["properties"]["spec"]["description"] == "What is wanted"
    gvk = {"group": custom.group, "version": "v1", "kind": custom.kind}
    assert definition["x-kubernetes-group-version-kind"] == [gvk]
    assert custom.path() in document["paths"]
    paths = api.get("/openapi/v3")["paths"]
    third = api.get(paths[f"apis/{custom.group}/v1"]["serverRelativeURL"])
    assert third["openapi"].startswith("3.")
    assert expected.items() <= third["components"]["schemas"][name].items()
    api.delete(custom.definition)
    api.until_gone(custom.definition)
    assert f"apis/{custom.group}/v1" not in api.get("/openapi/v3")["paths"]
    assert name not in api.get("/openapi/v2")["definitions"]


def test_a_version_that_is_no_longer_served_leaves_the_documents(api: Rest, define: Define) -> None:
    custom = define(OPEN, {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": OPEN}})
    both = {f"apis/{custom.group}/{version}" for version in ("v1", "v2")}
    assert both <= set(api.get("/openapi/v3")["paths"])
    api.patch(custom.definition, [{"op": "replace", "path": "/spec/versions/1/served", "value": False}], JSON_PATCH)
    assert both & set(api.get("/openapi/v3")["paths"]) == {f"apis/{custom.group}/v1"}


def test_selectable_fields(api: Rest, define: Define) -> None:
    text = {"type": "string"}
    schema = {"type": "object", "properties": {"host": text, "port": text}}
    custom = define(schema, selectableFields=[{"jsonPath": ".host"}, {"jsonPath": ".port"}])
    begin = api.get(custom.path())["metadata"]["resourceVersion"]
    for name, fields in {
        "a": {"host": "h1", "port": "80"},
        "b": {"host": "h1", "port": "81"},
        "c": {"host": "h2"},
    }.items():
        api.create(custom.path(), custom.made(name, **fields))

    def names(selector: str) -> list[str]:
        return [one["metadata"]["name"] for one in api.get(custom.path(), fieldSelector=selector)["items"]]

    assert (names("host=h1"), names("host=h1,port=80"), names("host!=h1")) == (["a", "b"], ["a"], ["c"])
    assert api("GET", custom.path(), fieldSelector="other=x").code == 400
    api.delete(custom.path(), fieldSelector="host=h1,port=80")
    api.patch(f"{custom.path()}/b", {"host": "h2"})
    assert names("host=h1") == []
    with api.watch(custom.path(), resourceVersion=begin, fieldSelector="host=h1", timeoutSeconds=1) as watch:
        told = [(event["type"], event["object"]["metadata"]["name"]) for event in watch.rest()]
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")]


def ruled(rule: str, **more: Any) -> Object:
    number = {"type": "integer"}
    rules = [{"rule": rule, **more}]
    spec = {"type": "object", "properties": {"x": number, "y": number}, "x-kubernetes-validations": rules}
    return {"type": "object", "properties": {"spec": spec}}


def test_rules_hold(api: Rest, define: Define) -> None:
    custom = define(ruled("self.x > self.y", message="x must be more", reason="FieldValueInvalid", fieldPath=".x"))
    api.create(custom.path(), custom.made("good", spec={"x": 2, "y": 1}))
    refused = api("POST", custom.path(), custom.made("bad", spec={"x": 1, "y": 2}))
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert (
        refused.body["details"]["causes"]
        == [{"reason": "FieldValueInvalid", "message": "Invalid value: x must be more", "field": "spec.x"}]
        or "x must be more" in refused.message
    )
    ratcheted = define(ruled("self.x == oldSelf.x"))
    api.create(ratcheted.path(), ratcheted.made("fixed", spec={"x": 1}))
    assert (
        api("PATCH", f"{ratcheted.path()}/fixed", {"spec": {"x": 2}}, content_type="application/merge-patch+json").code
        == 422
    )
    api.patch(f"{ratcheted.path()}/fixed", {"spec": {"y": 2}})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (ruled("self.z > 1"), "undefined field 'z'"),
        (ruled("self.x +"), "Syntax error"),
        (ruled("self.x"), "must evaluate to a bool"),
        (
            {
                "type": "object",
                "properties": {
                    "list": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "inner": {
                                    "type": "array",
                                    "items": {
                                        "type": "string",
                                        "x-kubernetes-validations": [{"rule": "self.contains(self + 'a')"}],
                                    },
                                }
                            },
                        },
                    }
                },
            },
            "exceeds budget",
        ),
    ],
    ids=["unknown", "syntax", "no bool", "costly"],
)
def test_rules_that_cannot_be(api: Rest, schema: Object, said: str) -> None:
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "bad.example.com", "scope": "Cluster", "names": names, "versions": [version]}
    refused = api("POST", DEFINITIONS, {"metadata": {"name": "things.bad.example.com"}, "spec": spec})
    assert (refused.code, said in refused.message) == (422, True), refused


def test_a_watch_of_custom_resources(api: Rest, define: Define) -> None:
    custom = define()
    begin = api.get(custom.path())["metadata"]["resourceVersion"]
    with api.watch(custom.path(), resourceVersion=begin) as watch:
        made = api.create(custom.path(), custom.made("a"))
        assert watch.next()["object"] == made
        api.delete(f"{custom.path()}/a")
        assert watch.next()["type"] == "DELETED"


def test_status_and_scale(api: Rest, define: Define) -> None:
    number = {"type": "integer"}
    part = {"type": "object", "properties": {"replicas": number, "selector": {"type": "string"}}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    custom = define(
        {"type": "object", "properties": {"spec": part, "status": part}}, subresources={"status": {}, "scale": scale}
    )
    made = api.create(custom.path(), custom.made("a", spec={"replicas": 1}, status={"replicas": 9}))
    assert ("status" in made, made["metadata"]["generation"]) == (False, 1)
    told = api.changed(
        f"{custom.path()}/a", lambda found: found.update(status={"replicas": 1, "selector": "a=b"}), "/status"
    )
    assert told["metadata"]["generation"] == 1
    scaled = api.patch(f"{custom.path()}/a/scale", {"spec": {"replicas": 3}})
    assert (scaled["spec"], scaled["status"]) == ({"replicas": 3}, {"replicas": 1, "selector": "a=b"})
    found = api.get(f"{custom.path()}/a")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)
