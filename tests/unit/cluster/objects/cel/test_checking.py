"""Types of expressions, and what is said of those that don't fit."""

from __future__ import annotations

from typing import Any, Final

import pytest

from oarlock.cluster.objects.cel import checking, engine
from oarlock.cluster.objects.cel.declared import declared, objects
from oarlock.cluster.objects.extensions.structural import compiled

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "i": {"type": "integer"},
        "d": {"type": "number"},
        "s": {"type": "string"},
        "ok": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "inner": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "start": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "either": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "unseen": {"x-kubernetes-preserve-unknown-fields": True},
        "in": {"type": "string"},
        "a-b": {"type": "string"},
    },
}


def checked(text: str, schema: dict[str, Any] = SCHEMA, *, root: bool = False) -> checking.Checked:
    place = declared(compiled(schema), root=root)
    assert place is not None
    variables = {"self": place.type, "oldSelf": place.type}
    return checking.check(engine.parsed(text), variables, objects(place))


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("self.i + 1", "int"),
        ("self.d * 2.0", "double"),
        ("self.i < 1.5", "bool"),
        ("self.list.map(x, string(x))", "list(string)"),
        ("self.list.filter(x, x > 1)", "list(int)"),
        ("self.list.exists_one(x, x == 1)", "bool"),
        ("self.map.all(k, self.map[k] == k)", "bool"),
        ("self.map.k", "string"),
        ("self.start - self.start", "duration"),
        ("self.start + self.wait", "timestamp"),
        ("self.start.getFullYear()", "int"),
        ("self.raw", "bytes"),
        ("self.either", "dyn"),
        ("type(self.either) == int ? self.either > 5 : self.either == 'x'", "bool"),
        ("self.inner == null || self.start == null", "bool"),
        ("self.?i.orValue(3)", "int"),
        ("self.?inner.x", "optional_type(int)"),
        ("self.__in__ + self.a__dash__b", "string"),
        ("[]", "list(dyn)"),
        ("{'a': 1}", "map(string, int)"),
        ("quantity(self.s)", "kubernetes.Quantity"),
        ("quantity(self.s).add(quantity('1')).compareTo(quantity('2'))", "int"),
        ("ip(self.s).family()", "int"),
        ("cidr(self.s).masked().ip()", "net.IP"),
        ("url(self.s).getQuery()", "map(string, list(string))"),
        ("semver(self.s, true).major()", "int"),
        ("format.dns1123Label().validate(self.s)", "optional_type(list(string))"),
        ("format.named('uuid')", "optional_type(kubernetes.NamedFormat)"),
        ("self.s.split(',').join('-').find('x').charAt(0)", "string"),
        ("self.list.sum() + self.list.min() + self.list.indexOf(4)", "int"),
        ("sets.equivalent(self.list, [1])", "bool"),
        ("type(self.i)", "type(int)"),
        ("dyn(self.i) == 'x'", "bool"),
    ],
)
def test_types_are_found(text: str, type_: str) -> None:
    found = checked(text)
    assert found.complaint() == ""
    assert str(found.type) == type_


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("self.nothing == 1", 5, "undefined field 'nothing'"),
        ("has(self.nothing)", 4, "undefined field 'nothing'"),
        ("self.inner.y > 1", 11, "undefined field 'y'"),
        ("self.free.any == 1", 10, "undefined field 'any'"),
        ("self.unseen == 1", 5, "undefined field 'unseen'"),
        ("self.apiVersion == 'v1'", 5, "undefined field 'apiVersion'"),
        ("self.?nothing.hasValue()", 5, "undefined field 'nothing'"),
        ("self.i.x", 7, "type 'int' does not support field selection"),
        ("self.i == 'x'", 8, "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.i == 1.0", 8, "found no matching overload for '_==_' applied to '(int, double)'"),
        ("self.i == null", 8, "found no matching overload for '_==_' applied to '(int, null)'"),
        ("self.i + self.s == ''", 8, "found no matching overload for '_+_' applied to '(int, string)'"),
        ("!self.i", 1, "found no matching overload for '!_' applied to '(int)'"),
        ("self.i && self.ok", 8, "found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("self.s.startsWith(1)", 18, "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("size(self.i) == 1", 5, "found no matching overload for 'size' applied to '(int)'"),
        ("self.ok ? 1 : 'a'", 9, "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("nobody == 1", 1, "undeclared reference to 'nobody' (in container '')"),
        ("nobody(1)", 7, "undeclared reference to 'nobody' (in container '')"),
        ("self.i.nothing()", 15, "undeclared reference to 'nothing' (in container '')"),
        ("self.list.all(x, y > 1)", 18, "undeclared reference to 'y' (in container '')"),
        (
            "self.i.all(x, x > 1)",
            5,
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1, 'a'].size() > 1", 5, "expected type 'int' but found 'string'"),
        ("duration('soon') == self.wait", 10, "invalid duration argument"),
        ("timestamp('today') == self.start", 11, "invalid timestamp argument"),
        ("self.s.matches('(')", 16, "invalid matches argument"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text: str, column: int, told: str) -> None:
    shown = f"ERROR: <input>:1:{column}: {told}\n | {text}\n | {'.' * (column - 1)}^"
    assert checked(text).complaint() == shown


def test_several_complaints_come_in_the_order_of_the_text() -> None:
    told = checked("self.x == 1 &&\n  self.y == 2").complaint().splitlines()
    assert [one for one in told if one.startswith("ERROR")] == [
        "ERROR: <input>:1:5: undefined field 'x'",
        "ERROR: <input>:2:7: undefined field 'y'",
    ]


def test_a_whole_object_shows_what_it_is() -> None:
    text = "self.apiVersion + self.kind + self.metadata.name + self.metadata.generateName"
    assert str(checked(text, root=True).type) == "string"
    assert "undefined field 'labels'" in checked("self.metadata.labels", root=True).complaint()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("self.a >", "ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting"),
        ("a b", "ERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>"),
        ("has(self)", "has() argument must be a field selection"),
    ],
)
def test_what_cannot_be_parsed_is_told(text: str, told: str) -> None:
    with pytest.raises(engine.CompileError) as caught:
        engine.parsed(text)
    assert told in str(caught.value)
