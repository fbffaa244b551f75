"""Definitions without their schemas: enough to serve a kind, with the schema read where an object needs it."""

from __future__ import annotations

import copy
from typing import Any

from oarlock.cluster.objects import codec
from oarlock.cluster.objects.custom import definition, naming
from oarlock.cluster.objects.custom.outline import outline, spec_bytes


def widgets() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "selectableFields": [{"jsonPath": ".spec.size"}],
        "deprecated": True,
        "deprecationWarning": "too old",
    }
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList", "shortNames": ["w"]}
    made: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "uid": "u", "generation": 2},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    made["status"] = {**naming.status(made, (), "2026-01-01T00:00:00Z"), "storedVersions": ["v1"]}
    return made


def test_an_outline_is_the_definition_without_schemas() -> None:
    whole = widgets()
    found = outline(codec.encode(whole))
    for version in whole["spec"]["versions"]:
        del version["schema"]
    assert {**found, "apiVersion": whole["apiVersion"], "kind": whole["kind"]} == whole


def test_a_kind_served_from_an_outline_is_that_of_the_definition() -> None:
    whole = widgets()
    reads: list[int] = []

    def read() -> dict[str, Any]:
        reads.append(1)
        return whole

    (lean,) = definition.resources(outline(codec.encode(whole)), read)
    (full,) = definition.resources(whole)
    assert lean == full
    assert lean.custom is not None
    assert full.custom is not None
    assert not reads
    assert lean.custom.schema == full.custom.schema
    assert lean.custom.document() == full.custom.document()
    assert (lean.custom.columns, lean.custom.selectable, lean.custom.scale) == (
        full.custom.columns,
        full.custom.selectable,
        full.custom.scale,
    )
    assert (lean.custom.deprecation, lean.custom.conversion) == ("too old", full.custom.conversion)


def test_a_spec_s_bytes_tell_whether_it_has_changed() -> None:
    whole = widgets()
    other = copy.deepcopy(whole)
    other["status"]["storedVersions"] = ["v1", "v2"]
    assert spec_bytes(codec.encode(whole)) == spec_bytes(codec.encode(other))
    other["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = {}
    assert spec_bytes(codec.encode(whole)) != spec_bytes(codec.encode(other))
