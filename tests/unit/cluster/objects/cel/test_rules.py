"""CEL rules of schemas: what they see, what they say, when they are asked, what can't be compiled."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.cel import rules, values
from oarlock.cluster.objects.cel.engine import CompileError, EvaluationError, program
from oarlock.cluster.objects.extensions.structural import compiled
from oarlock.cluster.objects.status import Cause

ITEM: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}


def broken(detail: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "object": {detail}', "")


def judged(rule: Any, obj: Any, old: Any = None, **properties: Any) -> list[Cause]:
    """What one rule at the top of a schema says."""
    written = {"rule": rule} if isinstance(rule, str) else rule
    known = {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
        "d": {"type": "number"},
        "s": {"type": "string"},
        "q": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": ITEM,
        },
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "raw": {"type": "string", "format": "byte"},
        "either": {"x-kubernetes-int-or-string": True},
        "with-dash": {"type": "integer"},
        "in": {"type": "integer"},
        **properties,
    }
    schema = {"type": "object", "properties": known, "x-kubernetes-validations": [written]}
    return list(rules.causes(rules.compiled(compiled(schema)), obj, old))


@pytest.mark.parametrize(
    ("rule", "obj"),
    [
        ("self.a <= self.b", {"a": 1, "b": 2}),
        ("self.d > 0.5", {"d": 1}),
        ("self.d == 1.0", {"d": 1}),
        ("!has(self.a) || self.a > 1", {}),
        ("self.?a.orValue(7) == 7", {}),
        ("self.s.startsWith('x') && self.s.matches('^x[0-9]+$')", {"s": "x12"}),
        ("self.s.split('-').size() == 3 && self.s.lowerAscii() == 'a-b-c'", {"s": "A-b-C"}),
        ("self.list.all(x, x > 0) && self.list.isSorted() && self.list.sum() == 6", {"list": [1, 2, 3]}),
        ("self.list.min() == 1 && self.list.max() == 3", {"list": [3, 1, 2]}),
        ("self.items.exists_one(x, x.name == 'a')", {"items": [{"name": "a"}, {"name": "b"}]}),
        ("self.items.map(x, x.n).sum() == 3", {"items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]}),
        ("'k' in self.map && self.map['k'] == 'v' && self.map.k == 'v'", {"map": {"k": "v"}}),
        ("self.raw == b'hello' && size(self.raw) == 5", {"raw": "aGVsbG8="}),
        ("type(self.either) == int ? self.either > 5 : self.either == 'six'", {"either": 6}),
        ("type(self.either) == int ? self.either > 5 : self.either == 'six'", {"either": "six"}),
        ("self.with__dash__dash == 1 && self.__in__ == 2", {"with-dash": 1, "in": 2}),
        ("quantity(self.q).isGreaterThan(quantity('1Mi'))", {"q": "1Gi"}),
        ("isQuantity(self.q)", {"q": "1Gi"}),
        ("!isQuantity('x')", {"q": "1Gi"}),
        ("quantity(self.q).add(quantity('500m')).compareTo(quantity('2')) == 0", {"q": "1500m"}),
        ("quantity(self.q).sub(1).asInteger() == 1 && quantity(self.q).sign() == 1", {"q": "2"}),
        ("sets.contains(self.list, [1])", {"list": [1, 2]}),
        ("sets.intersects(self.list, [9, 2])", {"list": [1, 2]}),
        ("!sets.equivalent(self.list, [1])", {"list": [1, 2]}),
        ("self.s.find('[0-9]+') == '12'", {"s": "a12b34"}),
        ("self.s.findAll('[0-9]+') == ['12', '34']", {"s": "a12b34"}),
        ("self.s.findAll('[0-9]+', 1) == ['12']", {"s": "a12b34"}),
        ("isURL(self.s)", {"s": "https://h:81/p"}),
        ("url(self.s).getHost() == 'h:81'", {"s": "https://h:81/p"}),
        ("url(self.s).getPort() == '81'", {"s": "https://h:81/p"}),
        ("url(self.s).getScheme() == 'https'", {"s": "https://h:81/p"}),
        ("isIP(self.s)", {"s": "10.1.2.3"}),
        ("ip(self.s).family() == 4", {"s": "10.1.2.3"}),
        ("cidr('10.0.0.0/8').containsIP(self.s)", {"s": "10.1.2.3"}),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", {"s": "10.0.0.0/9"}),
        ("cidr(self.s).prefixLength() == 9", {"s": "10.0.0.0/9"}),
        ("!isCIDR('10.0.0.1')", {"s": "10.0.0.0/9"}),
        ("math.greatest(self.list) == 3 && cel.bind(x, self.list, x.size() == 2)", {"list": [1, 3]}),
        ("self.apiVersion == 'v1'", {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}}),
        ("self.kind == 'K'", {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}}),
        (
            "self.metadata.name == 'n'",
            {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}},
        ),
        (
            "!has(self.metadata.labels)",
            {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}},
        ),
    ],
)
def test_rules_that_hold_say_nothing(rule: str, obj: dict[str, Any]) -> None:
    assert judged(rule, obj) == []


@pytest.mark.parametrize(
    ("rule", "obj", "cause"),
    [
        ("self.a > 1", {"a": 1}, broken("failed rule: self.a > 1")),
        (
            {"rule": "self.a > 1", "message": "too small", "fieldPath": ".a", "reason": "FieldValueForbidden"},
            {"a": 1},
            Cause("FieldValueForbidden", "Forbidden: too small", "a"),
        ),
        (
            {"rule": "self.a > 1", "messageExpression": "'a is ' + string(self.a)"},
            {"a": 1},
            broken("a is 1"),
        ),
        (
            {"rule": "self.a > 1", "messageExpression": "string(self.b)", "message": "fallback"},
            {"a": 1},
            broken("fallback"),
        ),
        (
            {"rule": "has(self.a)", "reason": "FieldValueRequired", "fieldPath": ".a"},
            {},
            Cause("FieldValueRequired", "Required value: failed rule: has(self.a)", "a"),
        ),
        ("self.b == 1", {}, broken("no such key: b evaluating rule: self.b == 1")),
        ("self.list[4] == 1", {"list": [1]}, broken("index out of bounds: 4 evaluating rule: self.list[4] == 1")),
        ("self.a / 0 == 1", {"a": 1}, broken("division by zero evaluating rule: self.a / 0 == 1")),
        (
            "self.either > 5",
            {"either": "six"},
            broken(
                "'no such overload': call arguments did not match a supported operator, function or macro signature "
                "for rule: self.either > 5"
            ),
        ),
    ],
)
def test_rules_that_fail_say_why(rule: Any, obj: dict[str, Any], cause: Cause) -> None:
    assert judged(rule, obj) == [cause]


@pytest.mark.parametrize(
    ("schema", "rule", "value"),
    [
        ({"type": "string", "format": "date-time"}, "self.getFullYear() == 2026", "2026-05-01T10:00:00Z"),
        ({"type": "string", "format": "date"}, "self < timestamp('2027-01-01T00:00:00Z')", "2026-05-01"),
        ({"type": "string", "format": "duration"}, "self == duration('90m')", "1h30m"),
        ({"type": "string", "format": "byte"}, "self == b'hello'", "aGVsbG8="),
        ({"type": "integer"}, "self > 5", 6),
        ({"type": "array", "items": {"type": "string"}}, "self.all(x, x.startsWith('a'))", ["ab", "ac"]),
    ],
)
def test_a_rule_s_own_value_has_the_type_of_its_schema(schema: dict[str, Any], rule: str, value: Any) -> None:
    written = {**schema, "x-kubernetes-validations": [{"rule": rule}]}
    assert list(rules.causes(rules.compiled(compiled(written)), value)) == []


def test_transitions_are_judged_where_there_is_something_to_come_from() -> None:
    rule = "self.a >= oldSelf.a"
    assert judged(rule, {"a": 1}) == []
    assert judged(rule, {"a": 2}, {"a": 1}) == []
    assert len(judged(rule, {"a": 1}, {"a": 2})) == 1
    optional = {"rule": "oldSelf.hasValue() ? self.a >= oldSelf.value().a : self.a == 0", "optionalOldSelf": True}
    assert judged(optional, {"a": 0}) == []
    assert len(judged(optional, {"a": 1})) == 1
    assert judged(optional, {"a": 2}, {"a": 1}) == []


def test_rules_below_find_their_partner_by_its_keys() -> None:
    item = {**ITEM, "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "shrinks"}]}
    items = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item}
    old = {"items": [{"name": "a", "n": 1}, {"name": "b", "n": 5}]}
    new = {"items": [{"name": "b", "n": 4}, {"name": "c", "n": 0}, {"name": "a", "n": 1}]}
    (cause,) = judged("true", new, old, items=items)
    assert (cause.field, cause.message) == ("items[0]", 'Invalid value: "object": shrinks')


def test_what_did_not_change_is_not_judged_again() -> None:
    assert len(judged("self.a > 1", {"a": 1})) == 1
    assert judged("self.a > 1", {"a": 1}, {"a": 1}) == []
    assert len(judged("self.a > 1", {"a": 1, "b": 1}, {"a": 1})) == 1


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("self.a >", "Syntax error"),
        ("nobody == 1", "undeclared reference to 'nobody'"),
        ("self.a.nothing()", "undeclared reference to 'nothing'"),
        ("1 + 'a' == 2", "found no matching overload for '_+_'"),
        ("'text'", "must evaluate to a bool"),
    ],
)
def test_what_cannot_be_compiled_is_told(rule: str, told: str) -> None:
    with pytest.raises(CompileError, match=r"(?s).*" + told.replace("+", "\\+")):
        judged(rule, {})


def test_a_rule_that_takes_too_long_is_cut_off() -> None:
    rule = "self.list.all(x, self.list.all(y, x == y))"
    assert judged(rule, {"list": [1] * 99}) == []
    (cause,) = judged(rule, {"list": [1] * 101})
    assert "actual cost limit exceeded" in cause.message


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("plain", "plain"),
        ("a.b", "a__dot__b"),
        ("a-b/c", "a__dash__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("namespace", "__namespace__"),
        ("1a", None),
        ("a b", None),
    ],
)
def test_properties_are_escaped(name: str, identifier: str | None) -> None:
    assert values.escaped(name) == identifier


def test_a_function_that_fails_is_an_evaluation_error() -> None:
    with pytest.raises(EvaluationError):
        program("quantity(self).sign() == 1", (("self", "string"),)).evaluate({"self": "no quantity"})
