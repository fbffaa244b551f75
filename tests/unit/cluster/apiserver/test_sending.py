"""Large answers: whole whatever their parts, one piece a turn for all clients, a slow reader only for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.apiserver import sending
from oarlock.cluster.apiserver.exchange import Answer, Handler, Parts, Relayed, Request, Response
from oarlock.cluster.apiserver.http import HttpFront


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 60))
def test_pieces_are_the_body_and_no_smaller_than_asked(parts: list[bytes], size: int) -> None:
    body = Parts(sum(map(len, parts)), lambda: iter(parts))
    pieces = list(body.pieces(size))
    assert b"".join(pieces) == b"".join(parts) == bytes(body)
    assert len(body) == len(bytes(body))
    assert all(len(piece) >= size for piece in pieces[:-1])


async def _ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    return reader, writer


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(length)


def test_a_client_that_reads_nothing_stops_none_of_the_others() -> None:
    item = b"x" * 1000
    count = 200 * sending.PIECE_BYTES // len(item)
    made: dict[int, int] = {}

    async def answer(request: Request) -> Answer:
        del request
        number = len(made)
        made[number] = 0

        def parts() -> object:
            for _ in range(count):
                made[number] += 1
                yield item

        return Response(200, Parts(count * len(item), parts))  # type: ignore[arg-type]

    async def scenario() -> None:
        front = HttpFront("127.0.0.1", 0, None, answer)
        await front.start()
        try:
            _, slow = await _ask(front.port)
            others = [await _ask(front.port) for _ in range(3)]
            async with asyncio.timeout(20):
                bodies = await asyncio.gather(*(_body(reader) for reader, _ in others))
            assert [len(body) for body in bodies] == [count * len(item)] * 3
            assert min(made.values()) < count, "nobody was slow"
            for writer in (slow, *(writer for _, writer in others)):
                writer.transport.abort()
        finally:
            await front.stop(0, 0.1)

    asyncio.run(scenario())
    made.clear()
    uvloop.run(scenario())


def test_many_that_are_sent_much_leave_turns_to_the_others() -> None:
    """However many lists are under way, a turn of the loop makes one piece."""
    item, at_once = b"y" * 1000, 8
    each = 40 * sending.PIECE_BYTES // len(item)
    turns, by_turn = 0, {}

    async def answer(request: Request) -> Answer:
        del request

        def parts() -> object:
            for _ in range(each):
                by_turn[turns] = by_turn.get(turns, 0) + 1
                yield item

        return Response(200, Parts(each * len(item), parts))  # type: ignore[arg-type]

    async def scenario() -> None:
        nonlocal turns
        front = HttpFront("127.0.0.1", 0, None, answer)
        await front.start()
        streams = [await _ask(front.port) for _ in range(at_once)]
        bodies = asyncio.gather(*(_body(reader) for reader, _ in streams))
        while not bodies.done():
            turns += 1
            await asyncio.sleep(0)
        assert {len(body) for body in bodies.result()} == {each * len(item)}
        for _, writer in streams:
            writer.transport.abort()
        await front.stop(0, 0.1)

    asyncio.run(scenario())
    a_piece = sending.PIECE_BYTES // len(item) + 1
    # Each list begins one piece when it is its turn to be answered; from then on there is one for all.
    crowded = [count for count in by_turn.values() if count > 2 * a_piece]
    assert len(crowded) <= at_once, by_turn


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to a server that answers so."""
    front = HttpFront("127.0.0.1", 0, None, handler)
    await front.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, limit=1 << 20)
        async with asyncio.timeout(20):
            yield reader, writer
        writer.close()
    finally:
        await front.stop(0, 0)


@pytest.mark.parametrize(
    ("asked", "answer", "told", "body", "stays"),
    [
        (b"GET / HTTP/1.1\r\n", Response(200, b"{}"), b"HTTP/1.1 200 OK", b"{}", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", Response(200, b"{}"), b"Connection: close", b"{}", False),
        (b"GET / HTTP/1.0\r\n", Response(200, b"{}"), b"HTTP/1.0 200 OK", b"{}", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", Response(200, b"{}"), b"Connection: keep-alive", b"{}", True),
        (b"HEAD / HTTP/1.1\r\n", Response(200, b"{}"), b"Content-Length: 2", b"", True),
        (b"GET / HTTP/1.1\r\n", Response(304, b"ignored"), b"HTTP/1.1 304 Not Modified", b"", True),
        (b"GET / HTTP/1.1\r\n", Response(503, b"", "text/plain"), b"Content-Length: 0", b"", True),
        (b"GET / HTTP/1.1\r\n", Response(200, b"x" * 300_000), b"Content-Length: 300000", b"x" * 300_000, True),
        (b"GET / HTTP/1.1\r\n", Response(headers={"Cache-Control": "public"}), b"Cache-Control: public", b"", True),
    ],
)
def test_an_answer_in_one_piece(asked: bytes, answer: Response, told: bytes, body: bytes, stays: bool) -> None:
    """Its head says what the request's version and the kind of answer want; then the next request is answered."""

    async def handler(_: Request) -> Answer:
        return Response(answer.status, answer.body, answer.content_type, dict(answer.headers))

    async def scenario() -> None:
        async with connected(handler) as (reader, writer):
            for _ in range(2 if stays else 1):
                writer.write(asked + b"Host: x\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.split(b"\r\n")
                assert told in lines
                assert sum(line.startswith(b"Cache-Control") for line in lines) == 1
                assert await reader.readexactly(len(body)) == body
            if not stays:
                assert await reader.read() == b""

    uvloop.run(scenario())


@pytest.mark.parametrize(
    ("asked", "headers", "sent", "stays"),
    [
        (b"GET / HTTP/1.1\r\n", [], b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n", [("Content-Length", "6")], b"onetwo", True),
        (b"GET / HTTP/1.0\r\n", [], b"onetwo", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", [], b"onetwo", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", [("Content-Length", "6")], b"onetwo", True),
        (b"GET / HTTP/1.0\r\n", [("Server", "another")], b"onetwo", False),
    ],
)
def test_another_servers_answer_ends_where_its_client_can_tell(
    asked: bytes, headers: list[tuple[str, str]], sent: bytes, stays: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def handler(_: Request) -> Answer:
        return Relayed(200, headers, pieces(), lambda: None)

    async def scenario() -> None:
        async with connected(handler) as (reader, writer):
            for _ in range(2 if stays else 1):
                writer.write(asked + b"Host: x\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                told = [line for line in head.split(b"\r\n") if line.startswith(b"Server:")]
                assert told == [f"Server: {value}".encode() for name, value in headers if name == "Server"]
                assert await reader.readexactly(len(sent)) == sent
            if not stays:
                assert await reader.read() == b""

    asyncio.run(scenario())
