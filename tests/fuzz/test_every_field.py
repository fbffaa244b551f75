"""Null, negative, huge, empty and mistyped values in every field of every kind: refused or taken, never a failure.

Each kind's fields are set one at a time, in an otherwise good object and in one that has every field there is, as dry
runs of creates, updates and patches.
"""

from __future__ import annotations

import copy
import http.client
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from unit.cluster.objects.test_whatever_is_valid import EXAMPLES

from oarlock.cluster.objects.resources import RESOURCES, Resource
from oarlock.cluster.objects.schemas import Schema, schema_for

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

Path = tuple[str | int, ...]
REQUESTS_MAX = 60
"""Requests of each kind; the same ones in every run."""
_BAD: tuple[Any, ...] = (
    *(None, True, 0, -1, -(2**63), 2**31, 2**63, 2**200, -0.5, 1e308, "", " ", "x" * 5000, "-1", "\u0000", "\ud800ü/%"),
    *("9999999999999999999999Gi", "1e999999", "-5m", "0x1p-2", "9999-99-99T99:99:99Z", "::1/129", "10.0.0.0/-1"),
    *([], [None], [[]], [{}], [""], [-1], {}, {"": None}, {"": ""}, {"a": []}, {"x" * 300: -1}, {"$patch": "delete"}),
)
_GOOD: dict[str, Any] = {
    "string": "a",
    "bool": True,
    "int32": 1,
    "int64": 1,
    "double": 0.5,
    "bytes": "YQ==",
    "any": {"a": 1},
    "quantity": "1",
    "int-or-string": "50%",
    "time": "2026-01-02T03:04:05Z",
    "micro-time": "2026-01-02T03:04:05.000006Z",
}
_DEPTH_MAX = 12
_APPLY = "application/apply-patch+yaml"
_WAYS = ("create", "create", "update", "update", "status", "merge", "strategic", "apply")


def _full(schema: Schema, above: tuple[str, ...] = ()) -> Any:
    """A value with every field and one item in every list and map."""
    if schema.kind == "object":
        if above.count(schema.type_name) > 1 or len(above) > _DEPTH_MAX:
            return {}
        return {name: _full(field, (*above, schema.type_name)) for name, field in schema.fields.items()}
    if schema.items is not None:
        inner = _full(schema.items, above)
        return [inner] if schema.kind == "list" else {"a": inner}
    return _GOOD[schema.kind]


def _places(value: Any, schema: Schema, path: Path = (), *, deep: bool) -> Iterator[Path]:
    """The path of every field that the schema has and `value` gives room to; below those it lacks if `deep`."""
    if schema.kind == "object":
        for name, field in schema.fields.items():
            yield (*path, name)
            held = value.get(name) if isinstance(value, dict) else None
            if held is not None or deep:
                yield from _places(held, field, (*path, name), deep=False)
    elif schema.kind == "list" and isinstance(value, list) and value:
        assert schema.items is not None
        yield (*path, 0)
        yield from _places(value[0], schema.items, (*path, 0), deep=deep)
    elif schema.kind == "map" and isinstance(value, dict) and value:
        assert schema.items is not None
        key = next(iter(value))
        yield (*path, key)
        yield from _places(value[key], schema.items, (*path, key), deep=deep)


def _with(obj: Any, path: Path, value: Any) -> Any:
    changed = copy.deepcopy(obj)
    holder = changed
    for step in path[:-1]:
        if isinstance(holder, dict) and not isinstance(holder.get(str(step)), dict | list):
            holder[step] = {}
        holder = holder[step]
    holder[path[-1]] = value
    return changed


def _resource(group: str, plural: str) -> Resource:
    return next(one for one in RESOURCES if (one.group, one.plural) == (group, plural))


def _bases(resource: Resource, example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    named = {"metadata": {"name": "x", **example.get("metadata", {})}}
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    good = {**head, **example, **named}
    full = {**_full(schema_for(resource)), **head, **named}
    yield good
    yield full
    yield {**full, **good}


def _request(resource: Resource, base: Any, path: Path, value: Any, way: str) -> tuple[str, str, str, Any]:
    """The (method, path, content type, body) that sets the field in one way."""
    body = _with(base, path, value)
    collection = f"{resource.path('default')}?dryRun=All"
    one = resource.path("default", body["metadata"]["name"] if path[0] != "metadata" else base["metadata"]["name"])
    fragment = body if any(isinstance(step, int) for step in path) else _with({}, path, value)
    return {
        "create": ("POST", collection, "application/json", body),
        "update": ("PUT", f"{one}?dryRun=All", "application/json", body),
        "status": ("PUT", f"{one}/status?dryRun=All", "application/json", body),
        "merge": ("PATCH", f"{one}?dryRun=All", "application/merge-patch+json", fragment),
        "strategic": ("PATCH", f"{one}?dryRun=All", "application/strategic-merge-patch+json", fragment),
        "apply": ("PATCH", f"{one}?dryRun=All&fieldManager=m&force=true", _APPLY, body),
    }[way]


def _sampled(resource: Resource, example: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    chance = random.Random(resource.qualified)
    schema = schema_for(resource)
    bases = [(base, list(_places(base, schema, deep=True))) for base in _bases(resource, example)]
    ways = [way for way in _WAYS if way != "status" or "status" in resource.subresources]
    for _ in range(REQUESTS_MAX):
        base, places = chance.choice(bases)
        yield _request(resource, base, chance.choice(places), chance.choice(_BAD), chance.choice(ways))


@pytest.mark.parametrize(("group", "plural", "example"), EXAMPLES, ids=[row[1] for row in EXAMPLES])
def test_no_value_in_any_field_is_a_failure(target: Any, group: str, plural: str, example: dict[str, Any]) -> None:
    resource = _resource(group, plural)
    connection = http.client.HTTPConnection(*target.address, timeout=30)
    first = json.dumps(next(_bases(resource, example))).encode()
    for method, path, content_type, body in [
        ("POST", resource.path("default"), "application/json", first),
        *_sampled(resource, example),
    ]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
        connection.request(method, path, raw, {"Content-Type": content_type})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 500 and content_type == _APPLY and b"failed to create typed patch object" in content:
            continue  # upstream's own answer to an applied object that doesn't fit its kind
        try:
            target.check(answer.status, answer.headers.get("Content-Type", ""), content)
        except AssertionError as failure:
            raise AssertionError(f"{method} {path} {content_type}\n{raw[:2000]!r}\n{failure}") from None
    connection.close()
