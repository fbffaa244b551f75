"""What is read of an object without the rest is what it has there."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects.glimpse import Glimpse

NAMES = st.sampled_from(["a", "b", "spec.x", "f:é", ""])
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
OBJECTS = st.dictionaries(
    NAMES,
    st.recursive(SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below), max_leaves=12),
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


def at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if not isinstance(obj, dict) or step not in obj:
            return ...
        obj = obj[step]
    return obj


@given(OBJECTS, st.lists(PATHS, max_size=4))
def test_each_path_leads_to_what_the_object_has_there(obj: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    wire = orjson.dumps(obj)
    whole, seen = orjson.loads(wire), Glimpse(paths).of(wire)
    assert [at(seen, path) for path in paths] == [at(whole, path) for path in paths]


def test_the_rest_is_not_made() -> None:
    wire = b'{"metadata":{"name":"x","labels":{"a":"b"}},"spec":{"containers":[{}],"nodeName":"n"}}'
    seen = Glimpse([("metadata", "labels"), ("spec", "nodeName"), ("status", "phase")]).of(wire)
    assert seen == {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "n"}}


def test_a_path_within_another_is_had_with_it() -> None:
    for paths in ([("spec",), ("spec", "nodeName")], [("spec", "nodeName"), ("spec",)]):
        assert Glimpse(paths).of(b'{"spec":{"nodeName":"n","x":1}}') == {"spec": {"nodeName": "n", "x": 1}}


def test_what_is_nested_too_deeply_to_be_passed_over_is_read_whole() -> None:
    deep = b'{"data":' + b"[" * 1000 + b"]" * 1000 + b',"metadata":{"labels":{"a":"b"}}}'
    assert Glimpse([("metadata", "labels")]).of(deep)["metadata"] == {"labels": {"a": "b"}}
