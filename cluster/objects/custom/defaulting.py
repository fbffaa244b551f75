"""Put a schema's defaults where an object has nothing. Source: apiextensions `pkg/apiserver/schema/defaulting`."""

from __future__ import annotations

import copy
from typing import Any

from oarlock.cluster.objects.extensions.structural import ABSENT, Structural


def apply(schema: Structural, value: Any) -> None:
    """Complete `value` in place; a null that may not be one counts as nothing where there is a default."""
    if isinstance(value, dict):
        for name, below in schema.properties.items():
            if below.default is ABSENT:
                continue
            if name not in value or (value[name] is None and not below.nullable):
                value[name] = copy.deepcopy(below.default)
        for name, one in value.items():
            found = schema.properties.get(name)
            if found is None and isinstance(schema.additional, Structural):
                found = schema.additional
                if one is None and not found.nullable and found.default is not ABSENT:
                    one = value[name] = copy.deepcopy(found.default)
            if found is not None:
                apply(found, one)
    elif isinstance(value, list) and schema.items is not None:
        for index, one in enumerate(value):
            if one is None and not schema.items.nullable and schema.items.default is not ABSENT:
                one = value[index] = copy.deepcopy(schema.items.default)
            apply(schema.items, one)


def has_defaults(schema: Structural) -> bool:
    """Whether anything below a place has a default."""
    below = [*schema.properties.values()]
    below += [one for one in (schema.items, schema.additional) if isinstance(one, Structural)]
    return any(one.default is not ABSENT or has_defaults(one) for one in below)
