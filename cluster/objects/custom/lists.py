"""Lists that are sets or maps: no item, and no key, twice. Source: apiextensions `pkg/apiserver/schema/listtype`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from oarlock.cluster.objects.causes import duplicate
from oarlock.cluster.objects.extensions.structural import ABSENT, Structural
from oarlock.cluster.objects.status import Cause


def causes(schema: Structural, value: Any, path: str) -> Iterator[Cause]:
    """What comes twice in the lists below a value."""
    if isinstance(value, list):
        yield from _repeated(schema, value, path)
        if schema.items is not None:
            for index, one in enumerate(value):
                yield from causes(schema.items, one, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for name, one in value.items():
            below = schema.properties.get(name)
            if below is not None:
                yield from causes(below, one, f"{path}.{name}" if path else name)
            elif isinstance(schema.additional, Structural):
                yield from causes(schema.additional, one, f"{path}[{name}]")


def _repeated(schema: Structural, values: list[Any], path: str) -> Iterator[Cause]:
    if schema.list_type not in ("set", "map"):
        return
    seen: set[bytes] = set()
    for index, one in enumerate(values):
        told = one if schema.list_type == "set" else key_of(schema, one)
        identity = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        if identity in seen:
            yield duplicate(f"{path}[{index}]", told)
        seen.add(identity)


def key_of(schema: Structural, item: Any) -> Any:
    """The keys of an item of a map list, with their defaults."""
    if not isinstance(item, Mapping) or schema.items is None:
        return item
    found = {}
    for key in schema.list_keys:
        known = schema.items.properties.get(key)
        if key in item:
            found[key] = item[key]
        elif known is not None and known.default is not ABSENT:
            found[key] = known.default
    return found
