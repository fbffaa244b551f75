"""Values judged by schemas: what is wrong, where, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.extensions import patterns, values
from oarlock.cluster.objects.extensions.pruning import pruned
from oarlock.cluster.objects.extensions.structural import compiled

PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
SIZED = {"anyOf": [{"required": ["size"]}, {"required": ["count"]}]}


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"type": "integer"}, 3.0, []),
        ({"type": "integer"}, 3.5, [("v", 'Invalid value: "number":  in body must be of type integer: "number"')]),
        ({"type": "number"}, 3, []),
        ({"type": "boolean"}, 1, [("v", 'Invalid value: "integer":  in body must be of type boolean: "integer"')]),
        ({"type": "string"}, None, [("v", 'Invalid value: "null":  in body must be of type string: "null"')]),
        ({"type": "string", "nullable": True}, None, []),
        ({"x-kubernetes-int-or-string": True}, "80%", []),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            [("v", 'Invalid value: "boolean":  in body must be of type integer,string: "boolean"')],
        ),
        (PORT, 0, [("v", "Invalid value: 0:  in body should be greater than or equal to 1")]),
        (
            {"maximum": 2.5, "exclusiveMaximum": True},
            2.5,
            [("v", "Invalid value: 2.5:  in body should be less than 2.5")],
        ),
        ({"multipleOf": 0.1}, 0.3, []),
        ({"multipleOf": 5}, 7, [("v", "Invalid value: 7:  in body should be a multiple of 5")]),
        ({"maxLength": 2}, "abc", [("v", "Too long: may not be more than 2 bytes")]),
        ({"minLength": 2}, "a", [("v", 'Invalid value: "a":  in body should be at least 2 chars long')]),
        ({"pattern": "^a+$"}, "ab", [("v", "Invalid value: \"ab\":  in body should match '^a+$'")]),
        ({"type": "string", "format": "ipv4"}, "10.0.0.1", []),
        (
            {"type": "string", "format": "ipv4"},
            "x",
            [("v", 'Invalid value: "x":  in body must be of type ipv4: "x"')],
        ),
        (
            {"type": "string", "format": "date-time"},
            5,
            [("v", 'Invalid value: "int64":  in body must be of type date-time: "int64"')],
        ),
        (
            {"type": "string", "format": "date-time"},
            True,
            [("v", 'Invalid value: "":  in body must be of type date-time: ""')],
        ),
        (
            {"type": "integer", "format": "int32"},
            0.5,
            [("v", 'Invalid value: "number":  in body must be of type integer: "number"')],
        ),
        ({"type": "integer", "format": "int32"}, 3_000_000_000, []),
        ({"enum": ["A", 1]}, "B", [("v", 'Unsupported value: "B": supported values: "A", "1"')]),
        ({"maxItems": 1}, [1, 2], [("v", "Too many: 2: must have at most 1 item")]),
        ({"minItems": 1}, [], [("v", "Invalid value: 0:  in body should have at least 1 items")]),
        (
            {"items": PORT},
            [1, 0],
            [("v.[1]", "Invalid value: 0: [1] in body should be greater than or equal to 1")],
        ),
        (
            {"properties": {"a": {"properties": {"port": PORT}}}},
            {"a": {"port": 0}},
            [("v.a.port", "Invalid value: 0: a.port in body should be greater than or equal to 1")],
        ),
        ({"required": ["a"]}, {}, [("v.a", "Required value")]),
        (
            {"additionalProperties": {"type": "string"}},
            {"a": 1},
            [("v.a", 'Invalid value: "integer": .a in body must be of type string: "integer"')],
        ),
        (SIZED, {"count": 1}, []),
        (
            SIZED,
            {},
            [("v", 'Invalid value: "": "" must validate at least one schema (anyOf)'), ("v.size", "Required value")],
        ),
        (
            {"oneOf": SIZED["anyOf"]},
            {"size": 1, "count": 1},
            [
                (
                    "v",
                    'Invalid value: "": "" must validate one and only one schema (oneOf). Found 2 valid alternatives',
                )
            ],
        ),
        ({"not": {"required": ["a"]}}, {"a": 1}, [("v", 'Invalid value: "": "" must not validate the schema (not)')]),
    ],
)
def test_a_value_by_its_schema(schema: dict[str, Any], value: Any, told: list[tuple[str, str]]) -> None:
    causes = values.causes(compiled(schema), value, "v")
    assert [(cause.field, cause.message) for cause in causes] == told


@pytest.mark.parametrize(
    ("schema", "value", "left"),
    [
        ({"properties": {"a": {}}}, {"a": 1, "b": 2}, {"a": 1}),
        ({"x-kubernetes-preserve-unknown-fields": True}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        (
            {"x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"properties": {"b": {}}}}},
            {"a": {"b": 1, "c": 2}, "d": 3},
            {"a": {"b": 1}, "d": 3},
        ),
        ({"additionalProperties": {"properties": {"a": {}}}}, {"x": {"a": 1, "b": 2}}, {"x": {"a": 1}}),
        ({"additionalProperties": True}, {"x": {"a": 1}}, {"x": {"a": 1}}),
        ({"items": {"properties": {"a": {}}}}, [{"a": 1, "b": 2}], [{"a": 1}]),
    ],
)
def test_pruning_leaves_what_is_specified(schema: dict[str, Any], value: Any, left: Any) -> None:
    assert pruned(compiled(schema), value) == left


def test_an_embedded_object_keeps_its_kind_and_metadata() -> None:
    schema = compiled({"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {}}})
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": 1}
    assert pruned(schema, {**whole, "other": 2}, whole=True) == whole


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^[[:alpha:]]+$", "abc", True),
        (r"^[[:alpha:]]+$", "ab1", False),
        (r"^\pL+\z", "añb", True),
        (r"^a$", "a\n", False),
        (r"(?i)ABC", "xabc", True),
        (r"\Qa.b\E", "a.b", True),
        (r"[$]", "$", True),
        (r"^\p{Greek}+$", "λόγος", True),
        (r"^(?P<word>\w+)$", "é", False),
        (r"^(a+)+$", "a" * 50_000 + "!", False),
        (r"(x+x+)+y", "x" * 50_000, False),
    ],
)
def test_patterns_mean_what_they_mean_in_go(pattern: str, text: str, found: bool) -> None:
    assert patterns.fault(pattern) == ""
    assert patterns.search(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a(", "missing closing ): `a(`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("a)", "unexpected ): `a)`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:none:]]", "invalid character class range: `[:none:]`"),
        ("a\\", "trailing backslash at end of expression: ``"),
    ],
)
def test_patterns_that_go_refuses(pattern: str, said: str) -> None:
    assert patterns.fault(pattern) == f"error parsing regexp: {said}"
