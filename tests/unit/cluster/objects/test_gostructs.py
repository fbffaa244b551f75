"""Messages show structs as upstream's internal types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from oarlock.cluster.objects import gostructs
from oarlock.cluster.objects.causes import OMITTED, invalid
from oarlock.cluster.objects.gostructs import Struct

_TABLE = Path(gostructs.__file__).parent / "data" / "go-structs.json"


def test_every_row_names_fields_of_its_type_and_every_struct_in_it_has_a_row() -> None:
    for type_name in orjson.loads(_TABLE.read_bytes()):
        names: list[str] = []
        for field in gostructs._fields(type_name):
            names.append(field.name)
            schema = field.schema
            while schema.items is not None:
                schema = schema.items
            if schema.kind == "object":
                assert gostructs._fields(gostructs._short(schema.type_name)), f"{type_name}.{field.name}"
        assert len(names) == len(set(names)), type_name


def test_an_empty_string_behind_a_pointer_is_kept() -> None:
    lost = [
        f"{type_name}.{field.json_name}"
        for type_name in orjson.loads(_TABLE.read_bytes())
        for field in gostructs._fields(type_name)
        if field.is_pointer and field.schema.kind == "string" and not field.schema.keeps_zero
    ]
    assert lost == []


def test_a_struct_shows_all_its_fields_in_order() -> None:
    toleration = {"key": "k", "operator": "Exists", "tolerationSeconds": 5}
    shown = '{"Key":"k","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":5}'
    assert gostructs.shown(Struct("core.v1.Toleration", toleration)) == shown
    assert gostructs.shown(Struct("[]core.v1.Toleration", [toleration])) == f"[{shown}]"
    assert gostructs.shown(Struct("[]core.v1.Toleration", None)) == "null"


def test_unset_structs_are_zero_and_unset_pointers_null() -> None:
    assert gostructs.shown(Struct("core.v1.Container", {"name": "c"})).startswith(
        '{"Name":"c","Image":"","Command":null,"Args":null,"WorkingDir":"","Ports":null,"EnvFrom":null,"Env":null,'
        '"Resources":{"Limits":null,"Requests":null,"Claims":null},"ResizePolicy":null,"RestartPolicy":null,'
    )


def test_what_v1_holds_outside_stands_inside() -> None:
    shown = gostructs.shown(Struct("core.v1.PodSpec", {"hostNetwork": True, "securityContext": {"runAsUser": 7}}))
    assert (
        '"SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,' in shown
    )
    assert '"RunAsUser":7' in shown


def test_types_with_json_names_keep_them_and_leave_out_what_is_empty() -> None:
    selector = {"matchExpressions": [{"key": "a", "operator": "Exists"}], "matchLabels": {"b": "c"}}
    shown = '{"matchLabels":{"b":"c"},"matchExpressions":[{"key":"a","operator":"Exists"}]}'
    assert gostructs.shown(Struct("meta.v1.LabelSelector", selector)) == shown
    template: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}}
    assert gostructs.shown(Struct("core.v1.PodTemplateSpec", template)).startswith('{"labels":{"a":"b"},"Spec":{')
    template["metadata"]["managedFields"] = [{"manager": "m", "operation": "Update"}]
    told = '{"labels":{"a":"b"},"managedFields":[{"manager":"m","operation":"Update"}],"Spec":{'
    assert gostructs.shown(Struct("core.v1.PodTemplateSpec", template)).startswith(told)


def test_marks_of_html_are_escaped_as_go_does() -> None:
    assert gostructs.shown(Struct("core.v1.LocalObjectReference", {"name": "<a&b>"})) == (
        '{"Name":"\\u003ca\\u0026b\\u003e"}'
    )


def test_a_difference_shows_three_lines_around_what_changed() -> None:
    one = {"key": "k", "operator": "Exists", "effect": "NoExecute"}
    assert gostructs.difference("core.v1.Toleration", one, {**one, "value": "v"}) == (
        "@@ -1,7 +1,7 @@\n"
        " {\n"
        '  "Key": "k",\n'
        '  "Operator": "Exists",\n'
        '- "Value": "",\n'
        '+ "Value": "v",\n'
        '  "Effect": "NoExecute",\n'
        '  "TolerationSeconds": null\n'
        " }\n"
    )


def test_equality_ignores_how_things_are_written() -> None:
    one = {"containers": [{"name": "c", "args": [], "resources": {"limits": {"cpu": "1000m"}}}]}
    other = {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}], "volumes": []}
    assert gostructs.same("core.v1.PodSpec", one, other)
    assert not gostructs.same("core.v1.PodSpec", one, {**other, "hostNetwork": True})
    assert not gostructs.same("core.v1.PodAffinityTerm", {"namespaceSelector": {}}, {})


def test_a_value_may_be_left_out_of_a_message() -> None:
    assert invalid("f", OMITTED, "why").message == "Invalid value: why"
    assert invalid("f", None, "why").message == "Invalid value: null: why"
