"""When two values are equal, and what adding two lists gives.

Numbers are compared across types, other types never equal one another; lists that are sets or have keys are compared
without regard to order. Source: cel-go `common/types`; apiserver `pkg/cel/common/values.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oarlock.cluster.objects.cel.values import MapList, Optional, SetList


def equal(one: Any, two: Any) -> bool:
    """Whether two values are the same."""
    if isinstance(one, bool) or isinstance(two, bool):
        return isinstance(one, bool) and isinstance(two, bool) and one == two
    if isinstance(one, list) and isinstance(two, list):
        return _equal_lists(one, two)
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return len(one) == len(two) and all(key in two and equal(value, two[key]) for key, value in one.items())
    if isinstance(one, Optional) and isinstance(two, Optional):
        return one.is_there == two.is_there and equal(one.value, two.value)
    return bool(one == two)


def _equal_lists(one: list[Any], two: list[Any]) -> bool:
    if len(one) != len(two):
        return False
    if isinstance(one, MapList) or isinstance(two, MapList):
        return _equal_by(one if isinstance(one, MapList) else two, one, two)  # type: ignore[arg-type]
    if isinstance(one, SetList) or isinstance(two, SetList):
        return all(contains(two, item) for item in one) and all(contains(one, item) for item in two)
    return all(map(equal, one, two))


def _equal_by(keyed: MapList, one: Sequence[Any], two: Sequence[Any]) -> bool:
    partners = {_frozen(keyed.identity(item)): item for item in two}
    missing = object()
    return all(equal(item, partners.get(_frozen(keyed.identity(item)), missing)) for item in one)


def contains(values: Sequence[Any], wanted: Any) -> bool:
    """Whether one of a list's items equals a value."""
    return any(equal(one, wanted) for one in values)


def joined(one: list[Any], two: list[Any]) -> list[Any]:
    """Two lists as one: items that a set has already, or that stand for a key of the first, come once."""
    if isinstance(one, SetList):
        return SetList([*one, *(item for item in two if not contains(one, item))])
    if isinstance(one, MapList):
        return _merged(one, two, one.identity)
    return [*one, *two]


def _merged(one: MapList, two: list[Any], identity: Callable[[Any], tuple[Any, ...]]) -> MapList:
    items, places = list(one), {_frozen(identity(item)): index for index, item in enumerate(one)}
    for item in two:
        key = _frozen(identity(item))
        if key in places:
            items[places[key]] = item
        else:
            places[key] = len(items)
            items.append(item)
    return MapList(items, one.keys)


def _frozen(identity: tuple[Any, ...]) -> str:
    return repr(identity)
