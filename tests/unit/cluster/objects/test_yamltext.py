"""YAML is written as kubectl's readers expect it, and read back as the same JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import yamltext


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("1", 'a: "1"'),
        ("", 'a: ""'),
        ("true", 'a: "true"'),
        ("y", 'a: "y"'),
        ("2026-01-01T00:00:00Z", 'a: "2026-01-01T00:00:00Z"'),
        ("1e3", 'a: "1e3"'),
        ("plain", "a: plain"),
        ("a: b", "a: 'a: b'"),
        (1, "a: 1"),
        (None, "a: null"),
        ([1], "a:\n- 1"),
        ("two\nlines\n", "a: |\n  two\n  lines"),
    ],
)
def test_strings_are_quoted_only_where_they_must_be(value: Any, line: str) -> None:
    assert yamltext.encode({"a": value}).decode() == line + "\n"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="ascii"), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc1.~", max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(_JSON)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert yamltext.load(yamltext.encode({"a": value})) == ({"a": value}, [])
