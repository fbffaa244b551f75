"""CEL rules of definitions that are refused: their types, their costs, where the old value can't be known."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.extensions import expression_rules
from oarlock.cluster.objects.extensions.structural import compiled
from oarlock.cluster.objects.status import Cause

HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
CONTRIBUTED = "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"


def ruled(schema: dict[str, Any], *rules: str, **more: Any) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": [{"rule": rule, **more} for rule in rules]}


def under(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def judged(schema: dict[str, Any], *faults: Cause, each_limited: bool = True) -> list[tuple[str, str]]:
    found = expression_rules.expressions(schema, compiled(schema), "s", faults, each_limited=each_limited)
    return [(cause.field, cause.message) for cause in found]


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "field", "told"),
    [
        (ruled(under(a=NUMBER), "self.b == 1"), "rule", "compilation failed: ERROR: <input>:1:5: undefined field 'b'"),
        (ruled(under(a=NUMBER), "self.a == 'x'"), "rule", "no matching overload for '_==_' applied to '(int, string)'"),
        (ruled(under(a=NUMBER), "self.a"), "rule", "cel expression must evaluate to a bool"),
        (ruled(under(a=NUMBER), "self.a >"), "rule", "compilation failed: ERROR: <input>:1:9: Syntax error"),
        (
            ruled(under(a=NUMBER), "self.a > 1", messageExpression="self.a"),
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        (
            ruled(under(a=NUMBER), "self.a > 1", messageExpression="self.b"),
            "messageExpression",
            "messageExpression compilation failed: ERROR: <input>:1:5: undefined field 'b'",
        ),
        (
            ruled(under(a=NUMBER), "self.a > 1", optionalOldSelf=True),
            "optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ],
)
def test_rules_that_cannot_work_are_refused(schema: dict[str, Any], field: str, told: str) -> None:
    ((where, message),) = judged(schema)
    assert where == f"s.x-kubernetes-validations[0].{field}"
    assert told in message


def test_a_refused_rule_is_shown_whole() -> None:
    ((_, message),) = judged(ruled(under(a=NUMBER), "self.b == 1"))
    assert message == (
        'Invalid value: {"Rule":"self.b == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"",'
        "\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n"
        " | self.b == 1\n | ....^"
    )


def test_an_unbounded_loop_breaks_three_limits() -> None:
    schema = under(tags=ruled(array(TEXT), "self.all(x, x.contains('gpu'))"))
    place = "s.properties[tags].x-kubernetes-validations[0].rule"
    factor = f"exceeds budget by factor of more than 100x {HINT}"
    total = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    assert judged(schema) == [
        (place, f"Forbidden: estimated rule cost {factor}"),
        (place, CONTRIBUTED),
        ("s", f"Forbidden: {total} {factor}"),
    ]


@pytest.mark.parametrize(("length_max", "items_max"), [(16, 909_090), (63, 333_333), (253, 94_339), (1_024, 24_154)])
def test_bounds_make_a_loop_affordable(length_max: int, items_max: int) -> None:
    def tags(count: int) -> dict[str, Any]:
        return ruled(array({**TEXT, "maxLength": length_max}, maxItems=count), "self.all(x, x.contains('gpu'))")

    assert judged(tags(items_max)) == []
    ((_, message),) = judged(tags(items_max + 1))
    assert message.startswith("Forbidden: estimated rule cost exceeds budget by factor of 1.0000")


def test_a_rule_costs_as_often_as_its_place_may_occur() -> None:
    item = ruled(under(a=NUMBER, b=NUMBER), "self.a < self.b")
    assert judged(array(item, maxItems=100)) == []
    ((where, message),) = judged(array(item, maxItems=4_000_000))
    assert where == "s.items.x-kubernetes-validations[0].rule"
    assert "exceeds budget by factor of 2.0x" in message
    assert judged(array(item)) == []


def test_the_most_expensive_rules_are_named() -> None:
    row = ruled(under(a=NUMBER, b=NUMBER), "self.a < self.b")
    schema = under(**{f"f{index:02}": array(row, maxItems=1_900_000) for index in range(12)})
    *named, (where, message) = judged(schema)
    assert [one for _, one in named] == [CONTRIBUTED] * 4
    assert (where, "1.140000x" in message) == ("s", True)


def test_a_schema_that_was_there_before_may_be_costly_rule_by_rule() -> None:
    item = ruled(under(a=NUMBER, b=NUMBER), "self.a < self.b")
    assert judged(array(item, maxItems=4_000_000), each_limited=False) == []


@pytest.mark.parametrize(
    ("schema", "within"),
    [
        (under(l=array(ruled(NUMBER, "self >= oldSelf"))), "s.properties[l]"),
        (under(l=array(under(n=ruled(NUMBER, "self >= oldSelf")))), "s.properties[l]"),
        (
            {**under(n=ruled(NUMBER, "self >= oldSelf")), "x-kubernetes-map-type": "atomic"},
            "s",
        ),
    ],
)
def test_transitions_need_a_partner(schema: dict[str, Any], within: str) -> None:
    ((_, message),) = judged(schema)
    told = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
    assert message == f'Invalid value: "self >= oldSelf": {told}'


def test_items_with_keys_have_partners() -> None:
    item = ruled(under(n=NUMBER), "self.n >= oldSelf.n")
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}
    assert judged(under(l=array(item, maxItems=10, **keyed))) == []


def test_rules_of_a_faulty_place_are_passed_over() -> None:
    schema = under(a=ruled(TEXT, "self > 1"), b=ruled(TEXT, "self > 1"))
    fault = Cause("FieldValueInvalid", "", "s.properties[a].default")
    assert [where for where, _ in judged(schema, fault)] == ["s.properties[b].x-kubernetes-validations[0].rule"]


def test_rules_about_what_nothing_is_known_of_are_refused() -> None:
    ((where, message),) = judged(under(a=ruled({"x-kubernetes-preserve-unknown-fields": True}, "true")))
    assert where == "s.properties[a].x-kubernetes-validations"
    assert message.endswith("unable to convert structural schema to CEL declarations")
