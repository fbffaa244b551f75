"""What is said of texts that are no JSON, or that orjson won't read."""

from __future__ import annotations

import pytest

from oarlock.cluster.objects import jsontext

HUGE = b"9" * 5_000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b"{a}", "invalid character 'a' looking for beginning of object key string"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b'{"a":' + HUGE + b"}", "invalid UTF-8 or number out of range"),
        (b"[1e" + HUGE + b"]", "invalid UTF-8 or number out of range"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_an_error_is_told_in_gos_words(raw: bytes, said: str) -> None:
    assert not jsontext.is_json(raw)
    assert jsontext.error(raw) == said


def test_duplicates_are_found_beside_numbers_of_any_length() -> None:
    raw = b'{"a":{"b":1,"b":' + HUGE + b'},"c":[{"d":1,"d":2}],"a":3}'
    assert jsontext.duplicates(raw) == ["a.b", "c[0].d", "a"]
