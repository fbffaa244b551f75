"""Whole commands come out of any pieces; what is none ends in Malformed, and nothing takes more than its bounds."""

from __future__ import annotations

import pytest
from harness.redis import encoded
from hypothesis import given
from hypothesis import strategies as st

from oarlock.consensus.resp.parsing import KNOWN, LINE_BYTES_MAX, STRANGER, Bounds, Malformed, RequestParser

commands = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), max_size=5)


def taken(parser: RequestParser) -> list[list[bytes]]:
    found = []
    while (command := parser.take()) is not None:
        found.append(command)
    return found


@given(commands, st.integers(1, 17))
def test_commands_in_pieces(sent: list[list[bytes]], piece: int) -> None:
    data = b"".join(encoded(*command) for command in sent)
    parser, got = RequestParser(), list[list[bytes]]()
    for start in range(0, len(data), piece):
        parser.feed(data[start : start + piece])
        got += taken(parser)
    assert got == sent
    assert parser.unread == 0


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"*", b"$", b"\r\n", b"1", b'"', b"-1"]))))
def test_any_bytes_give_commands_or_malformed(pieces: list[bytes]) -> None:
    parser = RequestParser(STRANGER)
    try:
        for piece in pieces:
            parser.feed(piece)
            for command in taken(parser):
                assert command
                assert len(command) <= STRANGER.arguments_max
    except Malformed:
        pass
    assert parser.unread <= sum(map(len, pieces))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PING\r\n", [b"PING"]),
        (b"  hget a  b\n", [b"hget", b"a", b"b"]),
        (b'HSET h "a b" "\\x00\\n\\"q\\\\"\r\n', [b"HSET", b"h", b"a b", b'\0\n"q\\']),
        (b"HSET h '' 'it\\'s'\r\n", [b"HSET", b"h", b"", b"it's"]),
        (b"\r\n*0\r\n*-1\r\n\nPING\r\n", [b"PING"]),
    ],
)
def test_lines(line: bytes, words: list[bytes]) -> None:
    parser = RequestParser()
    parser.feed(line)
    assert parser.take() == words
    assert parser.take() is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*9999999999\r\n", "invalid multibulk length"),
        (b"*4097\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$8388609\r\n", "invalid bulk length"),
        (b"*1\r\n$1\r\nabc\r\n", "a bulk string is longer than it says"),
        (b'SET "a\r\n', "unbalanced quotes in request"),
        (b'SET "a"b\r\n', "unbalanced quotes in request"),
        (b"x" * LINE_BYTES_MAX, "too big inline request"),
    ],
)
def test_malformed(data: bytes, reason: str) -> None:
    parser = RequestParser(KNOWN)
    parser.feed(data)
    with pytest.raises(Malformed, match=reason.replace("$", r"\$")):
        parser.take()


def test_a_command_of_many_arguments_is_bounded_as_a_whole() -> None:
    parser = RequestParser(Bounds(10, 100, 150))
    parser.feed(encoded(b"x" * 100, b"y" * 51))
    with pytest.raises(Malformed):
        parser.take()
