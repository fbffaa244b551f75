"""Fields that nobody knows, or that come twice.

Stands for: "FieldValidation should detect unknown and duplicate fields of a typed object", "... unknown metadata
fields of a typed object", "... should create/apply a valid CR / a CR with unknown fields / an invalid CR with extra
properties", "... should detect unknown metadata fields in both the root and embedded object of a CR", "... should
detect duplicates in a CR when preserving unknown fields".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness.rest import APPLY, Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POD = '{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"c","image":"i","nope":1}]}}'
SPEC = f'{{"replicas":2,"replicas":3,"unknown":"foo","selector":{{"matchLabels":{{"app":"a"}}}},"template":{POD}}}'
META = '{"name":"d","unknownMeta":"foo"}'
DEPLOYMENT = f'{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{META},"spec":{SPEC}}}'
FAULTS = (
    'unknown field "metadata.unknownMeta"',
    'duplicate field "spec.replicas"',
    'unknown field "spec.template.spec.containers[0].nope"',
    'unknown field "spec.unknown"',
)


@pytest.mark.parametrize("mode", ["Strict", "Warn", "Ignore", ""])
def test_typed_objects(api: Rest, apps: str, mode: str) -> None:
    answer = api("POST", f"{apps}/deployments", DEPLOYMENT, dryRun="All", fieldValidation=mode)
    assert answer.code == (400 if mode == "Strict" else 201)
    if mode == "Strict":
        assert "strict decoding error: " in answer.message
        assert all(fault in answer.message for fault in FAULTS), answer.message
    elif mode in ("Warn", ""):
        assert sorted(answer.warnings) == sorted(map(_warning, FAULTS))
    else:
        assert answer.warnings == []
    if answer.code == 201:
        assert answer.body["spec"]["replicas"] == 3, "the last one counts"


def _warning(fault: str) -> str:
    return f"299 - {json.dumps(fault)}"


def test_a_mode_that_does_not_exist(api: Rest, apps: str) -> None:
    answer = api("POST", f"{apps}/deployments", DEPLOYMENT, fieldValidation="Other")
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert 'fieldValidation: Unsupported value: "Other"' in answer.message


EMBEDDED = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object"},
    },
}
PORT = {
    "type": "object",
    "required": ["containerPort", "protocol"],
    "properties": {"containerPort": {"type": "integer"}, "protocol": {"type": "string"}, "name": {"type": "string"}},
}
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": PORT,
}


def schema(*, preserves: bool) -> Object:
    spec: Object = {"type": "object", "properties": {"foo": {"type": "string"}, "ports": PORTS, "template": EMBEDDED}}
    if preserves:
        spec["x-kubernetes-preserve-unknown-fields"] = True
    return {"type": "object", "properties": {"spec": spec}}


@pytest.fixture(scope="module")
def things(api: Rest) -> Iterator[dict[str, str]]:
    """The paths of a kind with a strict schema, of one that keeps what it doesn't know, and of one without any."""
    schemas = {
        "strict": schema(preserves=False),
        "keeping": schema(preserves=True),
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    paths = {}
    for name, one in schemas.items():
        group = f"{name}.validation.example.com"
        names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": one}}
        spec = {"group": group, "scope": "Cluster", "names": names, "versions": [version]}
        api.create(DEFINITIONS, {"metadata": {"name": f"things.{group}"}, "spec": spec})
        api.until(f"{DEFINITIONS}/things.{group}", lambda found: len(found["status"].get("conditions", [])) == 2)
        paths[name] = f"/apis/{group}/v1/things"
    yield paths
    for name in schemas:
        api("DELETE", f"{DEFINITIONS}/things.{name}.validation.example.com")


def custom(path: str, spec: str, metadata: str = "", more: str = "") -> str:
    version = path.removeprefix("/apis/").removesuffix("/things")
    return f'{{"apiVersion":"{version}","kind":"Thing","metadata":{{"name":"t"{metadata}}}{more},"spec":{{{spec}}}}}'


VALID = '"foo":"1","ports":[{"containerPort":80,"protocol":"TCP","name":"x"}]'
UNKNOWN = ',"unknownMeta":"x"'
SUB = '"template":{"apiVersion":"foo/v1","kind":"Sub","metadata":{"name":"s","unknownSubMeta":"x"}}'


@pytest.mark.parametrize(
    ("kind", "body", "faults"),
    [
        ("strict", {"spec": VALID}, []),
        ("open", {"spec": VALID + ',"unknown":1'}, []),
        ("keeping", {"spec": VALID + ',"unknown":1'}, []),
        ("strict", {"spec": VALID, "more": ',"unknown":1'}, ['unknown field "unknown"']),
        ("strict", {"spec": VALID + ',"unknown":1'}, ['unknown field "spec.unknown"']),
        ("strict", {"spec": VALID, "metadata": UNKNOWN}, ['unknown field "metadata.unknownMeta"']),
        ("keeping", {"spec": SUB}, ['unknown field "spec.template.metadata.unknownSubMeta"']),
        ("keeping", {"spec": VALID + ',"foo":"2"'}, ['duplicate field "spec.foo"']),
        ("open", {"spec": VALID + ',"unknown":1,"unknown":2'}, ['duplicate field "spec.unknown"']),
    ],
)
def test_custom_resources_as_created(
    api: Rest, things: dict[str, str], kind: str, body: dict[str, str], faults: list[str]
) -> None:
    path = things[kind]
    text = custom(path, **body)
    strict = api("POST", path, text, dryRun="All", fieldValidation="Strict")
    assert strict.code == (400 if faults else 201), strict
    assert all(fault in strict.message for fault in faults), strict.message
    warned = api("POST", path, text, dryRun="All", fieldValidation="Warn")
    assert (warned.code, warned.warnings) == (201, [_warning(fault) for fault in faults])


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("strict", {"spec": VALID}, ""),
        ("open", {"spec": VALID + ',"unknown":1'}, ""),
        ("strict", {"spec": VALID, "more": ',"unknownField":1'}, ".unknownField: field not declared in schema"),
        ("keeping", {"spec": VALID, "metadata": UNKNOWN}, ".metadata.unknownMeta: field not declared in schema"),
        ("keeping", {"spec": SUB}, "unknownSubMeta"),
        ("keeping", {"spec": VALID + ',"foo":"2"'}, 'line 1: key "foo" already set in map'),
    ],
)
def test_custom_resources_as_applied(api: Rest, things: dict[str, str], kind: str, body: Any, said: str) -> None:
    path = things[kind]
    text, options = custom(path, **body), {"dryRun": "All", "fieldManager": "m", "fieldValidation": "Strict"}
    answer = api("PATCH", f"{path}/t", text, content_type=APPLY, **options)
    assert (answer.code < 300) == (not said), answer
    assert said in answer.message
