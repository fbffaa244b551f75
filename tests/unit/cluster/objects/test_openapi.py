"""OpenAPI documents hold together and carry what kubectl looks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from oarlock.cluster.objects import openapi
from oarlock.cluster.objects.resources import RESOURCES

Doc = dict[str, Any]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


@pytest.fixture(scope="module")
def v2() -> Doc:
    return orjson.loads(openapi.v2())  # type: ignore[no-any-return]


def test_v2_references_resolve_and_operations_are_unique(v2: Doc) -> None:
    assert {reference.removeprefix("#/definitions/") for reference in _references(v2)} <= v2["definitions"].keys()
    operations = [item[verb]["operationId"] for item in v2["paths"].values() for verb in item if verb != "parameters"]
    assert len(operations) == len(set(operations))


def test_v2_has_no_nulls_and_marks_kinds(v2: Doc) -> None:
    pod = v2["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert pod["type"] == "object"
    assert "enum" not in pod["properties"]["kind"]
    assert pod["properties"]["spec"]["description"]
    port = v2["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert (port["type"], port["format"]) == ("string", "int-or-string")


def test_every_resource_can_be_posted_and_validated(v2: Doc) -> None:
    for one in RESOURCES:
        if "create" not in one.verbs:
            continue
        operation = v2["paths"][one.path("{namespace}")]["post"]
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert {"dryRun", "fieldManager", "fieldValidation", "body"} <= names
        assert operation["x-kubernetes-group-version-kind"]["kind"] == one.kind


def test_v3_documents_stand_alone() -> None:
    for group_version in {one.api_version for one in RESOURCES}:
        document = openapi.v3(group_version)
        schemas = document["components"]["schemas"]
        assert {ref.removeprefix("#/components/schemas/") for ref in _references(document)} <= schemas.keys()
    with pytest.raises(KeyError):
        openapi.v3("apps/v9")


def test_v3_patch_tells_of_field_validation() -> None:
    item = openapi.v3("apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    names = {parameter["name"] for parameter in item["patch"]["parameters"]}
    assert {"dryRun", "fieldValidation", "force"} <= names
    assert [parameter["name"] for parameter in item["parameters"]] == ["namespace", "name"]


def test_v3_wraps_described_references() -> None:
    spec = openapi.v3("apps/v1")["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert spec["description"]


def test_the_index_lists_every_group_and_version_with_a_stable_hash() -> None:
    paths = openapi.v3_index()["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v2"} <= paths.keys()
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url == f"/openapi/v3/apis/apps/v1?hash={openapi.v3_hash('apps/v1')}"


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message; flags are passed over."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = raw[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            varint()
            continue
        size = varint()
        yield key >> 3, raw[at : at + size]
        at += size


def _only(raw: bytes, field: int) -> bytes:
    found = [body for number, body in _fields(raw) if number == field]
    assert len(found) == 1
    return found[0]


def test_protobuf_holds_the_same_definitions_and_paths(v2: Doc) -> None:
    raw = openapi.v2_protobuf()
    assert _only(raw, 1) == b"2.0"
    definitions = {_only(body, 1).decode(): _only(body, 2) for _, body in _fields(_only(raw, 9))}
    assert definitions.keys() == v2["definitions"].keys()
    paths = [_only(body, 1).decode() for number, body in _fields(_only(raw, 8)) if number == 2]
    assert paths == list(v2["paths"])
    pod = definitions["io.k8s.api.core.v1.Pod"]
    properties = {_only(body, 1).decode() for _, body in _fields(_only(pod, 25))}
    assert properties == {"apiVersion", "kind", "metadata", "spec", "status"}
    extension = next(body for number, body in _fields(pod) if number == 31)
    assert _only(extension, 1) == b"x-kubernetes-group-version-kind"
