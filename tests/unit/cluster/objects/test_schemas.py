"""Schemas tell types, merge keys and list kinds at every path."""

from __future__ import annotations

import pytest

from oarlock.cluster.objects import compile as compiler
from oarlock.cluster.objects.resources import RESOURCES, lookup
from oarlock.cluster.objects.schemas import KINDS, Schema, schema_for, schema_of_kind


def _pod() -> Schema:
    resource = lookup("", "v1", "pods")
    assert resource is not None
    return schema_for(resource)


def test_every_resource_has_a_schema_with_metadata() -> None:
    for resource in RESOURCES:
        schema = schema_for(resource)
        assert schema.kind == "object"
        assert "kind" in schema.fields, resource


@pytest.mark.parametrize(
    ("path", "kind", "merge_key", "strategy"),
    [
        (["spec", "containers"], "list", "name", ("merge",)),
        (["spec", "volumes"], "list", "name", ("merge", "retainKeys")),
        (["spec", "tolerations"], "list", None, ()),
        (["spec", "containers", 0, "ports"], "list", "containerPort", ("merge",)),
        (["spec", "containers", 0, "resources", "limits", "cpu"], "quantity", None, ()),
        (["metadata", "labels", "app"], "string", None, ()),
        (["metadata", "creationTimestamp"], "time", None, ()),
        (["spec", "containers", 0, "livenessProbe", "httpGet", "port"], "int-or-string", None, ()),
    ],
)
def test_places_in_a_pod(path: list[str | int], kind: str, merge_key: str | None, strategy: tuple[str, ...]) -> None:
    schema = _pod().at(path)
    assert schema is not None
    assert (schema.kind, schema.patch_merge_key, schema.patch_strategy) == (kind, merge_key, strategy)


def test_list_and_map_kinds() -> None:
    ports = _pod().at(["spec", "containers", 0, "ports"])
    assert ports is not None
    assert (ports.list_type, ports.list_map_keys) == ("map", ("containerPort", "protocol"))
    selector = _pod().at(["spec", "nodeSelector"])
    assert selector is not None
    assert selector.map_type == "atomic"
    assert _pod().at(["spec", "nope"]) is None


def test_kinds_that_are_no_resources() -> None:
    for group, version, kind in (
        ("autoscaling", "v1", "Scale"),
        ("policy", "v1", "Eviction"),
        ("", "v1", "DeleteOptions"),
    ):
        assert schema_of_kind(group, version, kind) is not None
    assert schema_of_kind("", "v1", "Nope") is None


def test_the_committed_data_is_what_the_compiler_makes() -> None:
    import orjson

    committed = orjson.loads((compiler.DATA / f"schemas-{compiler.RELEASE}.json").read_bytes())
    assert committed == compiler.compile_all()


def test_all_kinds_of_nodes_are_known() -> None:
    seen: set[str] = set()

    def walk(schema: Schema) -> None:
        assert schema.kind in KINDS
        if schema.type_name in seen:
            return
        seen.add(schema.type_name)
        for field in schema.fields.values():
            walk(field)
        if schema.items is not None:
            walk(schema.items)

    walk(_pod())
