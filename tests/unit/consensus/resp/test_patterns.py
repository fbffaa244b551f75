"""Glob patterns match as Redis' do, and in bounded time. Source: Redis util.c, stringmatchlen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.consensus.resp.patterns import compiled


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (b"", [b""], [b"a"]),
        (b"*", [b"", b"abc"], []),
        (b"a*", [b"a", b"ab"], [b"", b"ba"]),
        (b"*a", [b"a", b"ba", b"aba"], [b"ab"]),
        (b"a?c", [b"abc", b"a\nc"], [b"ac", b"abbc"]),
        (b"[a-c]x", [b"ax", b"cx"], [b"dx", b"x"]),
        (b"[^a-c]x", [b"dx"], [b"ax", b"x"]),
        (b"[c-a]", [b"b"], [b"d"]),
        (b"[\\]]", [b"]"], [b"\\"]),
        (b"\\*a\\-", [b"*a-"], [b"ba-"]),
        (b"a**b*c", [b"abc", b"a-b-c"], [b"acb"]),
        (b"[ab", [b"a"], [b"c"]),
        (b"RAYx@KV:@namespace\\-*", [b"RAYx@KV:@namespace-1"], [b"RAYx@KV:@namespace_1"]),
    ],
)
def test_matching(pattern: bytes, matching: list[bytes], other: list[bytes]) -> None:
    made = compiled(pattern)
    assert [text for text in [*matching, *other] if made.matches(text)] == matching
    assert all(text.startswith(made.prefix) for text in matching)


def test_many_stars_end() -> None:
    assert not compiled(b"*a" * 200 + b"b").matches(b"a" * 4000)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_anything_is_a_pattern(pattern: bytes, text: bytes) -> None:
    made = compiled(pattern)
    assert not made.matches(text) or text.startswith(made.prefix)
