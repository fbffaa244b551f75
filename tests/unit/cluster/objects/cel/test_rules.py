"""CEL rules of schemas: what they see, what they say, when they are asked, what can't be compiled."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.cel import rules, values
from oarlock.cluster.objects.cel.rules import Budget
from oarlock.cluster.objects.extensions.structural import compiled
from oarlock.cluster.objects.status import Cause

ITEM: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}


EITHER: dict[str, Any] = {"x-kubernetes-int-or-string": True}


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
        "namespace": {"type": "string"},
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
        ("self.namespace == 'n' && self.__namespace__ == 'n'", {"namespace": "n"}),
        ("has(self.namespace) && self.?namespace.orValue('') == 'n'", {"namespace": "n"}),
        ("!has(self.namespace) && self.?namespace.orValue('x') == 'x'", {}),
        ("self.map.namespace == 'n'", {"map": {"namespace": "n"}}),
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
        ("self.list.indexOf(3) == 1 && self.list.lastIndexOf(3) == 2", {"list": [1, 3, 3]}),
        ("self.s.indexOf('b') == 1 && self.s.lastIndexOf('b') == 3", {"s": "abcb"}),
        ("self.s.charAt(1) + self.s.substring(1, 3) + self.s.upperAscii() == 'bbcABC'", {"s": "abc"}),
        ("self.s.trim().replace('b', 'x', 1) == 'axb' && self.s.split('b', 2)[0] == ' a'", {"s": " abb "}),
        ("['a', 'b'].join('/') == self.s", {"s": "a/b"}),
        ("'%s-%d'.format([dyn(self.s), dyn(3)]) == 'a-3'", {"s": "a"}),
        ("ip(self.s).isLoopback() && string(ip(self.s)) == '127.0.0.1'", {"s": "127.0.0.1"}),
        ("ip.isCanonical(self.s) && !ip.isCanonical('2001:DB8::1')", {"s": "2001:db8::1"}),
        ("ip(self.s).isGlobalUnicast() && !ip(self.s).isUnspecified()", {"s": "10.0.0.1"}),
        ("ip(self.s).isLinkLocalMulticast() && ip('169.254.0.1').isLinkLocalUnicast()", {"s": "224.0.0.5"}),
        ("string(cidr(self.s).masked()) == '10.0.0.0/8' && cidr(self.s).ip() == ip('10.0.0.1')", {"s": "10.0.0.1/8"}),
        ("cidr('10.0.0.0/8').containsCIDR(cidr(self.s)) && !isIP('::ffff:1.2.3.4')", {"s": "10.1.0.0/16"}),
        ("url(self.s).getHostname() == '::1' && url(self.s).getPort() == '80'", {"s": "https://[::1]:80/a%20b?k=v"}),
        ("url(self.s).getEscapedPath() == '/a%20b'", {"s": "https://[::1]:80/a%20b?k=v"}),
        ("url(self.s).getQuery() == {'k': ['v', 'w'], 'x': ['']}", {"s": "/p?k=v&k=w&x="}),
        ("semver(self.s).isGreaterThan(semver('1.2.3-rc.2')) && semver(self.s).patch() == 3", {"s": "1.2.3"}),
        ("semver('1.0.0-alpha.1').isLessThan(semver('1.0.0-alpha.beta'))", {"s": ""}),
        ("isSemver(self.s, true) && !isSemver(self.s) && semver(self.s, true).minor() == 2", {"s": "v1.02"}),
        ("semver('1.2.3').compareTo(semver(self.s)) == 0", {"s": "1.2.3+build"}),
        ("!format.dns1123Label().validate(self.s).hasValue()", {"s": "a-b"}),
        ("format.dns1123Label().validate(self.s).value().size() == 1", {"s": "A_"}),
        ("!format.named('dns1035LabelPrefix').value().validate(self.s).hasValue()", {"s": "a-"}),
        ("!format.named(self.s).hasValue() && format.named('uuid').hasValue()", {"s": "nothing"}),
        ("format.date().validate(self.s) == optional.of(['invalid date'])", {"s": "soon"}),
        ("quantity(self.q) == quantity('1024Mi') && quantity(self.q).isInteger()", {"q": "1Gi"}),
        ("quantity(self.q).asApproximateFloat() == 0.5", {"q": "500m"}),
        ("self.list.all(x, x in [1, 2]) && self.list.exists(x, x == 2)", {"list": [1, 2]}),
        ("self.list.map(x, x > 1, x * 2) == [4]", {"list": [1, 2]}),
        ("self.map.filter(k, k.startsWith('a')) == ['ab'] && size(self.map) == 2", {"map": {"ab": "", "b": ""}}),
        ("self.?a.optMap(x, x + 1).orValue(0) == 2 && self.?b.optMap(x, x).orValue(9) == 9", {"a": 1}),
        ("[?self.?a, ?self.?b] == [1] && {?'x': self.?b} == {}", {"a": 1}),
        (
            "self.?map[?'k'].orValue('none') == 'v' && self.?map.nothing.or(optional.of('w')).value() == 'w'",
            {"map": {"k": "v"}},
        ),
        ("self.list.all(i, v, i < v) && self.list.exists(i, v, i == 1 && v == 3)", {"list": [1, 3]}),
        ("self.map.existsOne(k, v, k == v) && self.map.all(k, v, v != '')", {"map": {"a": "a", "b": "c"}}),
        (
            "self.list.transformList(i, v, i * v) == [0, 3] && self.list.transformList(i, v, v > 1, i) == [1]",
            {"list": [1, 3]},
        ),
        ("self.map.transformMap(k, v, k + v) == {'a': 'ab'}", {"map": {"a": "b"}}),
        ("self.map.transformMap(k, v, k != 'a', size(v)) == {}", {"map": {"a": "b"}}),
        ("self.map.transformMapEntry(k, v, {v: k}) == {'b': 'a'}", {"map": {"a": "b"}}),
        ("-7 / 2 == -3 && -7 % 2 == -1 && 7.0 / 2.0 == 3.5", {}),
        ("int('12') + int(3.9) == 15 && string(1.0) == '1' && double('2.5') == 2.5 && bool('true')", {}),
        ("string(duration('90m')) == '5400s' && duration('90m').getMinutes() == 90", {}),
        ("timestamp('2026-03-01T00:30:00Z').getHours('America/New_York') == 19", {}),
        ("timestamp('2026-03-01T00:30:00Z').getDayOfMonth('-02:00') == 27", {}),
        ("timestamp('2026-03-01T00:30:00Z').getMonth() == 2 && timestamp('2026-03-01T00:00:00Z').getDate() == 1", {}),
        ("true || self.b == 1", {}),
        ("self.b == 1 || true", {}),
        ("!(self.b == 1 && false)", {}),
        ("[1, 0].exists(x, 1 / x == 1)", {}),
        ("self.apiVersion == 'v1'", {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}}),
        ("self.kind == 'K'", {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}}),
        (
            "self.metadata.name == 'n'",
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
            "9223372036854775807 + self.a > 0",
            {"a": 1},
            broken("integer overflow evaluating rule: 9223372036854775807 + self.a > 0"),
        ),
        ("self.a % 0 == 1", {"a": 1}, broken("modulus by zero evaluating rule: self.a % 0 == 1")),
        ("[0, 1].all(x, 1 / x == 1)", {}, broken("division by zero evaluating rule: [0, 1].all(x, 1 / x == 1)")),
        (
            "self.nothing",
            {},
            broken(
                "rule compile error: compilation failed: ERROR: <input>:1:5: undefined field 'nothing'\n"
                " | self.nothing\n | ....^"
            ),
        ),
        ("self.a", {}, broken("rule compile error: cel expression must evaluate to a bool")),
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


@pytest.mark.parametrize(
    "rule",
    [
        "self.start < self.end && self.end - self.start == self.length",
        "self.day == timestamp('2026-05-01T00:00:00Z') && self.start.getFullYear() == 2026",
        "self.length > duration('1h') && string(self.start) == '2026-05-01T10:00:00Z'",
        "self.waits.all(x, x > duration('1s')) && self.waits.max() == duration('90m')",
        "self.starts.all(name, self.starts[name] >= self.start)",
        "self.raws[0] == b'hello' && self.raws.map(x, size(x)) == [5]",
        "type(self.eithers[0]) == int && type(self.eithers[1]) == string",
        "type(self.start) == google.protobuf.Timestamp && type(self.length) == google.protobuf.Duration",
    ],
)
def test_times_and_bytes_inside_objects_have_their_types(rule: str) -> None:
    moment, length = {"type": "string", "format": "date-time"}, {"type": "string", "format": "duration"}
    properties: dict[str, Any] = {
        "start": moment,
        "end": moment,
        "day": {"type": "string", "format": "date"},
        "length": length,
        "waits": {"type": "array", "items": length},
        "starts": {"type": "object", "additionalProperties": moment},
        "raws": {"type": "array", "items": {"type": "string", "format": "byte"}},
        "eithers": {"type": "array", "items": {"x-kubernetes-int-or-string": True}},
    }
    obj = {
        "start": "2026-05-01T10:00:00Z",
        "end": "2026-05-01T13:30:00+02:00",
        "day": "2026-05-01",
        "length": "90m",
        "waits": ["5s", "1h30m"],
        "starts": {"a": "2026-05-01T10:00:00.5Z"},
        "raws": ["aGVsbG8="],
        "eithers": [1, "50%"],
    }
    assert judged(rule, obj, **properties) == []


@pytest.mark.parametrize(
    "rule",
    [
        "self.set == ['b', 'a'] && self.set != ['a', 'c']",
        "self.set + ['c', 'a'] == ['a', 'b', 'c']",
        "self.keyed == [{'name': dyn('b'), 'n': 2}, {'name': dyn('a'), 'n': 1}]",
        "[{'name': dyn('a'), 'n': 9}, {'name': dyn('b'), 'n': 2}, {'name': dyn('c'), 'n': 3}] == self.keyed + self.all",
        "self.plain != ['b', 'a'] && self.plain + ['a'] == ['a', 'b', 'a']",
    ],
)
def test_lists_are_compared_and_joined_by_their_kind(rule: str) -> None:
    names = {"type": "array", "items": {"type": "string"}}
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "additionalProperties": EITHER},
    }
    properties = {"set": {**names, "x-kubernetes-list-type": "set"}, "plain": names, "keyed": keyed, "all": keyed}
    obj = {
        "set": ["a", "b"],
        "plain": ["a", "b"],
        "keyed": [{"name": "a", "n": 1}, {"name": "b", "n": 2}],
        "all": [{"name": "c", "n": 3}, {"name": "a", "n": 9}],
    }
    assert judged(rule, obj, **properties) == []


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


def test_a_rule_that_takes_too_long_is_cut_off() -> None:
    rule = "self.list.all(x, self.list.all(y, x == y))"
    assert judged(rule, {"list": [1] * 300}) == []
    (cause,) = judged(rule, {"list": [1] * 600})
    assert cause == broken(
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost "
        f"exceeds limit for rule: {rule}"
    )


def test_all_rules_of_an_object_share_a_budget() -> None:
    rule = {"rule": "self.all(x, self.all(y, x <= y || x > y))"}
    row = {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [rule]}
    schema = compiled({"type": "object", "properties": {"rows": {"type": "array", "items": row}}})
    node = rules.compiled(schema)
    rows = [[1] * 40] * 3000
    found = list(rules.causes(node, {"rows": rows}, budget=Budget(clock=lambda: 0.0, cost=1_000_000)))
    (cause,) = found
    assert cause.message == (
        'Invalid value: "array": validation failed due to running out of cost budget, no further validation rules will '
        "be run"
    )


def test_time_is_a_budget_too() -> None:
    ticks = iter(range(10**9))
    rule = "self.list.all(x, self.list.all(y, x == y))"
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "integer"}}}}
    node = rules.compiled(compiled({**schema, "x-kubernetes-validations": [{"rule": rule}]}))
    (cause,) = rules.causes(node, {"list": [1] * 300}, budget=Budget(clock=lambda: float(next(ticks))))
    assert "running out of cost budget" in cause.message


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
