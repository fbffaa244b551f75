"""One address for whatever the forwarder points at; nothing is lost between the two sides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from harness.store import free_ports, run

from oarlock.actors.shell.ray_forwarder import Forwarder


class Echo:
    """Answers each line with its own name and the line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.received += len(line)
                writer.write(self.name.encode() + b" " + line)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def echo(name: str, port: int) -> AsyncIterator[Echo]:
    one = Echo(name)
    server = await asyncio.start_server(one.serve, "127.0.0.1", port, limit=1 << 24)
    try:
        yield one
    finally:
        server.close()


async def with_forwarder(story: Callable[[Forwarder, int], Coroutine[Any, Any, None]]) -> None:
    forwarder, (port,) = Forwarder(), free_ports(1)
    await forwarder.start("127.0.0.1", port)
    try:
        await story(forwarder, port)
    finally:
        forwarder.stop()


def test_clients_wait_for_a_target_and_are_cut_when_it_moves() -> None:
    async def story(forwarder: Forwarder, port: int) -> None:
        first, second = free_ports(2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"early\n")
        answer = asyncio.ensure_future(reader.readline())
        forwarder.point(("127.0.0.1", first))  # nobody listens there yet
        assert not (await asyncio.wait((answer,), timeout=0.1))[0]
        async with echo("one", first), echo("two", second):
            assert await answer == b"one early\n"
            forwarder.point(("127.0.0.1", first))
            writer.write(b"again\n")
            assert await reader.readline() == b"one again\n", "the same target is no move"
            forwarder.point(("127.0.0.1", second))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"new\n")
            assert await reader.readline() == b"two new\n"
            forwarder.point(None)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    run(lambda: with_forwarder(story), "uvloop")


def test_much_is_relayed_whole_at_the_pace_of_the_slower() -> None:
    async def story(forwarder: Forwarder, port: int) -> None:
        line = b"x" * 999 + b"\n"
        (target,) = free_ports(1)
        async with echo("e", target) as one:
            forwarder.point(("127.0.0.1", target))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(5_000):
                writer.write(line)
            for _ in range(5_000):
                assert await reader.readline() == b"e " + line
            assert one.received == 5_000 * 1000

    run(lambda: with_forwarder(story), "uvloop")


def test_the_end_of_either_side_ends_the_other() -> None:
    async def story(forwarder: Forwarder, port: int) -> None:
        (target,) = free_ports(1)
        async with echo("e", target):
            forwarder.point(("127.0.0.1", target))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"last\n")
            writer.write_eof()
            assert await reader.read() == b"e last\n"
            writer.close()

    run(lambda: with_forwarder(story), "uvloop")
