"""What expressions may cost, as upstream estimates it (`compilation_test.go`, `TestCostEstimation`)."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects.cel import checking, costs, engine
from oarlock.cluster.objects.cel.declared import declared, objects
from oarlock.cluster.objects.extensions.structural import compiled

NUMBER: dict[str, Any] = {"type": "number"}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
EITHER: dict[str, Any] = {"x-kubernetes-int-or-string": True}


def text(length_max: int | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "string", **({} if length_max is None else {"maxLength": length_max}), **more}


def array(items: dict[str, Any], items_max: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items, **({} if items_max is None else {"maxItems": items_max})}


def mapped(values: dict[str, Any], count_max: int | None = None) -> dict[str, Any]:
    limit = {} if count_max is None else {"maxProperties": count_max}
    return {"type": "object", "additionalProperties": values, **limit}


def fields(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def cost(schema: dict[str, Any], rule: str) -> int:
    place = declared(compiled(schema))
    assert place is not None
    variables = {"self": place.type, "oldSelf": place.type}
    checked = checking.check(engine.parsed(rule), variables, objects(place))
    assert checked.complaint() == ""
    return costs.cost_max(checked, place)


@pytest.mark.parametrize(
    ("schema", "rule", "expected"),
    [
        (array(NUMBER), "self.all(x, true)", 4718591),
        (array(NUMBER, 10), "self.all(x, true)", 32),
        (array(text()), "self.all(x, true)", 3145727),
        (array(BOOLEAN), "self.all(x, true)", 1887437),
        (array(array(NUMBER)), "self.all(x, true)", 3145727),
        (mapped(NUMBER), "self.all(x, true)", 1348169),
        (mapped(text()), "self.all(x, true)", 1179647),
        (mapped(text(), 3), "self.all(x, true)", 11),
        (mapped(BOOLEAN), "self.all(x, true)", 943718),
        (text(), "self.contains('test')", 314574),
        (text(10), "self.contains('test')", 5),
        (text(), "self.startsWith('test')", 2),
        (text(), 'size(self + "hello") > size("hello")', 314578),
        (text(4), 'size(self + "hello") > size("hello")', 7),
        (array(NUMBER), "self[1] == 0.0", 2),
        (array(text()), "self[1] == self[1]", 314577),
        (array(NUMBER, 10), "self.all(x, self.all(y, true))", 352),
        (array(NUMBER, 10), "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (text(), 'self.matches("x")', 314574),
        (text(50), 'self.matches("x")', 22),
        (text(), '"".matches("(((((((((())))))))))[0-9]")', 7),
        (text(), 'self.matches("")', 1),
        (text(), 'self == "x"', 2),
        (text(0), 'self == "x"', 1),
        (array(NUMBER), "self.all(x, x == 0.0)", 6291454),
        (array(NUMBER, 3 * 1024 * 2048), "self.all(x, x == 0.0)", 25165826),
        (array(EITHER), "self.all(x, true)", 4718591),
        (array(EITHER), "self[0] == 5", 3),
        (array(mapped(NUMBER)), "self.all(x, x.y == 25.2)", 6291452),
        (array(mapped(NUMBER), 12), "self.all(x, x.y == 25.2)", 74),
        (array(mapped(NUMBER)), "self[0].x > 2.0", 4),
        (array(text(format="duration")), "self.all(x, true)", 2359295),
        (array(text(format="duration")), "self[0].getHours() == 2", 4),
        (array(text(format="date")), "self.all(x, true)", 725936),
        (array(text(format="date-time")), "self.all(x, true)", 428963),
        (mapped(text(format="duration")), "self.all(x, true)", 1048577),
        (mapped(text(format="date")), "self.all(x, true)", 524288),
        (mapped(text(format="date-time")), "self.all(x, true)", 349526),
        (text(), "self.find('[0-9]+') == ''", 629147),
        (text(10), "self.find('[0-9]+') == ''", 11),
        (array(text()), "self.join(' ') == 'aa bb'", 329853068905),
        (array(text(10), 10), "self.join(' ') == 'aa bb'", 43),
        (array(text()), "self.isSorted() == true", 329854432052),
        (array(text(10), 10), "self.isSorted() == true", 52),
        (fields(s=text(), b=text(2), a=text(4)), "self.s.replace(self.b, self.a) == 'does not matter'", 629154),
        (fields(s=text(4), b=text(2), a=text(4)), "self.s.replace(self.b, self.a) == 'does not matter'", 12),
        (fields(s=text(), by=text()), "self.s.split(self.by) == []", 629160),
        (fields(s=text(10), by=text(10)), "self.s.split(self.by) == []", 22),
        (text(), "self.lowerAscii() == 'lower!'", 314575),
        (text(10), "self.lowerAscii() == 'lower!'", 6),
        (mapped({"type": "integer"}), "oldSelf.size() == self.size()", 5),
        (mapped(text(format="date-time")), 'self["a"] == self["b"]', 8),
    ],
)
def test_estimates_are_upstream_s(schema: dict[str, Any], rule: str, expected: int) -> None:
    assert cost(schema, rule) == expected


def test_asking_for_presence_costs_what_finding_its_holder_does() -> None:
    assert cost(mapped(NUMBER), "has(self.x)") == 1


def test_loops_over_unbounded_lists_of_unbounded_texts_are_beyond_any_limit() -> None:
    nested = array(array(array(text())))
    assert cost(nested, "self.all(x, x.all(y, y.all(z, z.contains(z))))") == costs.UNBOUNDED
