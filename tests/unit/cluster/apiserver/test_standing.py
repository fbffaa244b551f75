"""A watch's connection while nothing happens: what is let go, what is noticed at once, and what comes after."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import uvloop
from harness.apiserver import start_api_server

from oarlock.cluster.apiserver.connection import Connection
from oarlock.cluster.apiserver.exchange import Answer, Request, Response, Rest, Stream, Wire
from oarlock.cluster.apiserver.http import HttpFront
from oarlock.cluster.apiserver.metrics import REGISTERED_WATCHERS
from oarlock.cluster.apiserver.standing import RECEIVED_BYTES_MAX

MAPS = "/api/v1/namespaces/default/configmaps"
WATCH = f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds="
READING_BYTES = 256 << 10
"""What a loop reads at once."""


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, port: int, context: ssl.SSLContext | None = None) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context))

    def send(self, path: str, *lines: str, method: str = "GET") -> None:
        self.writer.write("\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "\r\n")).encode())

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """Return the next chunk, b"" for the last."""
        async with asyncio.timeout(10):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def body(self) -> bytes:
        head = (await self.head()).lower()
        assert head.startswith(b"http/1.1 200"), head
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        async with asyncio.timeout(10):
            return await self.reader.readexactly(int(length))

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return await self.reader.read(1) == b""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0.001)


def watches() -> float:
    return REGISTERED_WATCHERS.labels("", "v1", "configmaps")._value.get()


def requests_and_connections() -> dict[int, Request | Connection]:
    """Return all there are, by identity."""
    return {id(one): one for one in gc.get_objects() if isinstance(one, Request | Connection)}


def test_an_idle_watch_keeps_neither_a_task_nor_its_request(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        connections = api.server._front._connections
        earlier = requests_and_connections()  # other tests may have left some that have yet to be collected
        client = await Client.of(api.server.port)
        before = asyncio.all_tasks()
        client.send(f"{WATCH}600")
        await client.head()
        await until(lambda: connections.standing and not connections.connections)
        await until(lambda: asyncio.all_tasks() <= before)
        kept = [one for number, one in requests_and_connections().items() if number not in earlier]
        assert not [one for one in kept if isinstance(one, Connection) or "watch=1" in one.query.text]
        client.writer.close()
        await until(lambda: not connections.standing)

    with_api(scenario)


@pytest.mark.parametrize("pipelined", ["", "with the watch", "meanwhile"])
def test_after_a_watch_its_connection_is_http_again(with_api: Any, pipelined: str) -> None:
    async def scenario(api: Any) -> None:
        connections = api.server._front._connections
        client = await Client.of(api.server.port)
        client.send(f"{WATCH}1")
        if pipelined == "with the watch":
            client.send("/version")
        await client.head()
        if pipelined == "meanwhile":
            await until(lambda: connections.standing)
            client.send("/version")
        assert await client.chunk() == b""
        if not pipelined:
            client.send("/version")
        assert orjson.loads(await client.body())["major"] == "1"
        (connection,) = connections.connections
        assert connection._keepalive_handle is not None, "it is closed if it stays idle"
        client.send("/livez")
        assert await client.body() == b"ok"

    with_api(scenario)


def test_a_client_is_who_it_was_after_a_watch(tmp_path: Any) -> None:
    async def scenario() -> None:
        async with start_api_server(tmp_path) as api:
            context = ssl.create_default_context(cafile=api.admin.ca_file)
            context.load_cert_chain(api.admin.cert_file, api.admin.key_file)
            client = await Client.of(api.server.port, context)
            for _ in range(2):
                client.send(f"{WATCH}1")
                await client.head()
                assert await client.chunk() == b""
            client.send(f"{MAPS}?limit=1")
            assert orjson.loads(await client.body())["kind"] == "ConfigMapList"
            client.writer.close()

    asyncio.run(scenario())
    uvloop.run(scenario())


def test_a_connection_that_should_close_does_so_after_the_watch(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        client = await Client.of(api.server.port)
        client.send(f"{WATCH}1", "Connection: close")
        assert b"connection: close" in (await client.head()).lower()
        assert await client.chunk() == b""
        assert await client.ended()

    with_api(scenario)


@pytest.mark.parametrize("goes", ["abort", "close", "write_eof"])
def test_that_a_client_went_away_is_noticed_at_once(with_api: Any, goes: str) -> None:
    async def scenario(api: Any) -> None:
        watching, before = api.server._watching, watches()
        client = await Client.of(api.server.port)
        client.send(f"{WATCH}600")
        await client.head()
        await until(lambda: api.server._front._connections.standing)
        assert (len(watching._open), watches()) == (1, before + 1)
        getattr(client.writer.transport, goes)()
        await until(lambda: not watching._open)
        assert watches() == before
        assert not list(api.server._cache.collection(b"/registry/configmaps/").watchers)

    with_api(scenario)


def test_a_watch_that_is_asked_for_with_head_is_over_with_its_head(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        client = await Client.of(api.server.port)
        client.send(f"{WATCH}600", method="HEAD")
        await client.head()
        client.send("/livez")
        assert await client.body() == b"ok"
        assert not api.server._watching._open

    with_api(scenario)


class Endless:
    """The rest of an answer that says when it is told to, and ends when it is told to."""

    def __init__(self) -> None:
        self.end: Callable[[], None] | None = None
        self.wire: Wire | None = None
        self.times_gone = 0

    async def run(self, wire: Wire) -> Rest:
        self.wire = wire
        return self

    def begin(self, end: Callable[[], None]) -> None:
        self.end = end

    def gone(self) -> None:
        self.times_gone += 1


def with_front(scenario: Callable[[HttpFront, Endless], Any]) -> None:
    async def main() -> None:
        rest = Endless()

        async def handler(request: Request) -> Answer:
            return Stream(rest.run) if request.path == "/stream" else Response(200, b"ok")

        front = HttpFront("127.0.0.1", 0, None, handler)
        await front.start()
        try:
            await scenario(front, rest)
        finally:
            await front.stop(0, 0.1)

    asyncio.run(main())
    uvloop.run(main())


def test_what_a_client_sends_during_a_stream_is_bounded_and_answered_after_it() -> None:
    asked, filler = 40, "x" * (RECEIVED_BYTES_MAX // 2)

    async def scenario(front: HttpFront, rest: Endless) -> None:
        assert front._connections is not None
        client = await Client.of(front.port)
        client.send("/stream")
        await client.head()
        await until(lambda: rest.end)
        (standing,) = front._connections.standing
        for _ in range(asked):
            client.send("/again", f"X: {filler}")
        await until(lambda: not standing.transport.is_reading())
        assert len(standing.received) <= RECEIVED_BYTES_MAX + READING_BYTES < asked * len(filler)
        assert rest.wire is not None
        rest.wire.write(b"x")
        assert await client.chunk() == b"x"
        assert rest.end is not None
        rest.end()
        assert await client.chunk() == b""
        for _ in range(asked):
            assert await client.body() == b"ok"
        assert rest.times_gone == 1
        client.writer.close()

    with_front(scenario)


def test_who_gave_the_connection_away_is_told_of_its_end_once_and_not_before() -> None:
    async def scenario(front: HttpFront, rest: Endless) -> None:
        server = front._connections
        assert server is not None
        for ends_first in (True, False):
            told: list[int] = []
            listener = await asyncio.get_running_loop().create_server(
                lambda told=told: server.handed(lambda: told.append(1)),  # type: ignore[misc]
                "127.0.0.1",
                0,
            )
            client = await Client.of(listener.sockets[0].getsockname()[1])
            rest.end, rest.times_gone = None, 0
            client.send("/stream")
            await client.head()
            await until(lambda: rest.end)
            if ends_first:
                assert rest.end is not None
                rest.end()
                assert await client.chunk() == b""
                client.send("/again")
                assert await client.body() == b"ok"
            assert not told
            client.writer.transport.abort()
            await until(lambda told=told: told)  # type: ignore[misc]
            assert (told, rest.times_gone) == ([1], 1)
            listener.close()

    with_front(scenario)


def test_a_stream_that_outlasts_the_grace_is_cut() -> None:
    async def scenario(front: HttpFront, rest: Endless) -> None:
        client = await Client.of(front.port)
        client.send("/stream")
        await client.head()
        await until(lambda: rest.end)
        await front.stop(0, 0.1)
        assert await client.ended()
        assert rest.times_gone == 1

    with_front(scenario)
