"""YAML is written as kubectl's readers expect it, and read back as the same JSON."""

from __future__ import annotations

import json
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


_JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 65), 1 << 65) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "<<", "on", "1", "a: b", "#", "\u00e9"]), _JSON_TEXTS, max_size=4))
def test_json_is_read_as_the_yaml_that_it_is(value: Any) -> None:
    """Whatever is read on the short way is what the long way would give."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1), json.dumps(value, indent="\t")):
        quickly = yamltext._from_json(text.encode(errors="surrogatepass"))
        if quickly is None:
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yamltext, "_from_json", lambda _: None)
            assert yamltext.load(text.encode()) == (quickly, [])


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"<<": {"a": 1}}',
        '{"a": 1.5}',
        '{"a": 9223372036854775808}',
        '{"a": "\\ud83d\\ude00"}',
        '{"a": "\u00e9"}',
        '{\t"a": 1}',
        "{a: 1}",
        "[1]",
        '{"a": "x", "b": "say \\"a\\": 1"}',
        '{"' + "k" * 1001 + '": 1}',
        '{"a": ' + "[" * 101 + "]" * 101 + "}",
    ],
)
def test_what_may_mean_something_else_in_yaml_is_read_as_yaml(text: str) -> None:
    assert yamltext._from_json(text.encode()) is None
    assert yamltext._from_json(b'{"a": [1, {"b": null}], "c": "d"}') == {"a": [1, {"b": None}], "c": "d"}
