"""Stored bytes are canonical and take their revision without a parse."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import codec

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.builds(
    lambda kind, metadata, rest: {**rest, "kind": kind, "apiVersion": "v1", "metadata": metadata},
    st.text(max_size=6),
    st.dictionaries(st.text(max_size=6).filter(lambda key: key != "resourceVersion"), _JSON, max_size=3),
    st.dictionaries(st.text(max_size=6), _JSON, max_size=3),
)


@given(_OBJECTS, st.integers(1, 2**63))
def test_an_object_comes_back_with_its_revision(obj: dict[str, Any], revision: int) -> None:
    expected = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
    stored = codec.encode(obj)
    assert codec.decode(stored, revision) == expected
    assert orjson.loads(codec.with_revision(stored, revision)) == expected


@given(_OBJECTS)
def test_the_order_of_keys_does_not_matter(obj: dict[str, Any]) -> None:
    assert codec.encode(dict(reversed(obj.items()))) == codec.encode(obj)


def test_the_head_is_as_promised_and_the_version_is_not_stored() -> None:
    stored = codec.encode(
        {"spec": {}, "metadata": {"name": "a", "resourceVersion": "7"}, "apiVersion": "v1", "kind": "Pod"}
    )
    assert stored == b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}'
    assert codec.with_revision(stored, 12).startswith(
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"12","name"'
    )
