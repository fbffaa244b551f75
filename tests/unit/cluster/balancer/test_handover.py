"""Connections given away: real sockets, the balancer and API servers' fronts in one process, under both loops."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from oarlock.cluster.apiserver import settings as apiserver
from oarlock.cluster.apiserver.exchange import Answer, Request, Response
from oarlock.cluster.apiserver.http import HttpFront
from oarlock.cluster.balancer.pool import Health
from oarlock.cluster.balancer.server import Balancer
from oarlock.cluster.balancer.settings import BalancerSettings, Tls
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.giving import NUMBER, TAKEN

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Rig:
    """Two fronts that answer with their name and the client's port, and a balancer that is told of their sockets."""

    def __init__(self, folder: Path) -> None:
        files = Authority(folder).issue("server", "server", hosts=["127.0.0.1"])
        self.tls = apiserver.Tls(str(files.ca), str(files.cert), str(files.key))
        self.client_context = ssl.create_default_context(cafile=files.ca)
        self.folder = folder
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.fronts = [HttpFront("127.0.0.1", 0, self.tls, self._answer(name), self.path(name)) for name in "ab"]
        self.balancer: Balancer

    def modes(self) -> list[int]:
        """Who may use the sockets."""
        return [Path(self.path(name)).stat().st_mode & 0o777 for name in "ab"]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def _answer(self, name: str) -> Callable[[Request], Coroutine[Any, Any, Answer]]:
        async def answer(request: Request) -> Answer:
            if request.path != "/readyz":
                self.reached.set()
                await self.gate.wait()
            return Response(200, name.encode())

        return answer

    async def start(self, **settings: Any) -> None:
        for front in self.fronts:
            await front.start()
        backends = tuple(("127.0.0.1", front.port) for front in self.fronts)
        handovers = {f"127.0.0.1:{front.port}": self.path(name) for front, name in zip(self.fronts, "ab", strict=True)}
        quick = {"check_interval_s": 0.05, "retry_interval_s": 0.02, "drain_s": 0.1, "handovers": handovers, **settings}
        self.balancer = Balancer(BalancerSettings("127.0.0.1", 0, backends, Tls(self.tls.ca_file), **quick))
        await self.balancer.start()
        await self.until(Health.READY, Health.READY)

    async def stop(self) -> None:
        await self.balancer.stop()
        for front in self.fronts:
            await front.stop(0, 0.1)

    async def dial(self) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self.balancer.port, ssl=self.client_context)

    async def until(self, *healths: Health) -> None:
        while [backend.health for backend in self.balancer.backends] != list(healths):
            await self.balancer._news.wait()

    def open(self) -> int:
        return sum(backend.connections for backend in self.balancer.backends)

    def relayed(self) -> int:
        return len(self.balancer._clients)


async def ask(stream: Stream, path: str = "/") -> str:
    reader, writer = stream
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return (await reader.readexactly(1)).decode()


async def ended(stream: Stream) -> bool:
    try:
        return await stream[0].read(1) == b""
    except ConnectionError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - sockets end when the kernel says so
        await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(folder: Path, **settings: Any) -> AsyncIterator[Rig]:
    made = Rig(folder)
    try:
        await made.start(**settings)
        yield made
    finally:
        await made.stop()


def run(folder: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def inside() -> None:
        async with asyncio.timeout(20), rig(folder, **settings) as made:
            await scenario(made)

    asyncio.run(inside())
    uvloop.run(inside())


def test_connections_are_given_away_evenly_and_forgotten_when_they_end(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        streams = [await made.dial() for _ in range(6)]
        assert sorted([await ask(stream) for stream in streams]) == ["a", "a", "a", "b", "b", "b"]
        assert (made.open(), made.relayed()) == (6, 0), "they were relayed, or lost count of"
        assert made.modes() == [0o600, 0o600]
        for _, writer in streams[:2]:
            writer.close()
        await until(lambda: made.open() == 4)
        streams[2][1].transport.abort()
        await until(lambda: made.open() == 3)
        assert [await ask(stream) for stream in streams[3:]]
        for _, writer in streams:
            writer.transport.abort()
        await until(lambda: made.open() == 0)

    run(tmp_path, scenario)


def test_a_connection_that_the_server_ends_ends_for_the_client(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        reader, writer = await made.dial()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith((b"a", b"b"))
        await until(lambda: made.open() == 0)
        writer.close()

    run(tmp_path, scenario)


def test_a_client_that_speaks_no_tls_is_let_go(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.balancer.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        await until(lambda: made.open() == 0)
        assert await ask(await made.dial()) in "ab"
        writer.close()

    run(tmp_path, scenario)


def test_what_was_given_outlives_the_balancer(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        stream = await made.dial()
        name = await ask(stream)
        await made.balancer.stop()
        assert await ask(stream) == name
        stream[1].close()

    run(tmp_path, scenario)


@pytest.mark.parametrize("unheard", [False, True], ids=["all-heard", "news-unheard"])
def test_what_a_slow_server_had_not_taken_outlives_the_balancer(tmp_path: Path, *, unheard: bool) -> None:
    async def scenario(made: Rig) -> None:
        loop = asyncio.get_running_loop()
        first = [await made.dial() for _ in range(2)]
        assert sorted([await ask(stream) for stream in first]) == ["a", "b"]
        handed = [front._handed for front in made.fronts if front._handed is not None]
        slow = [(one, channel) for one in handed for channel in one._channels]
        for _, channel in slow:
            loop.remove_reader(channel)
        dialing = [asyncio.create_task(made.dial()) for _ in range(4)]
        await until(lambda: made.open() == 6)
        if unheard:
            ends = [handover._channel for handover in made.balancer._handovers.values()]
            for end, (_, writer) in zip(ends, first, strict=True):
                assert end is not None
                loop.remove_reader(end)
                writer.close()
            await until(lambda: all(end is not None and has_news(end) for end in ends))
        await made.balancer.stop()
        for one, channel in slow:
            loop.add_reader(channel, one._readable, channel)
        streams = [await one for one in dialing]
        assert sorted([await ask(stream) for stream in streams]) == ["a", "a", "b", "b"]
        for _, writer in (*first, *streams):
            writer.close()

    run(tmp_path, scenario)


def has_news(channel: socket.socket) -> bool:
    try:
        return bool(channel.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_a_server_that_stops_ends_what_it_has_in_order_and_the_next_gets_what_comes(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        made.gate.clear()
        streams = [await made.dial() for _ in range(2)]
        asking = [asyncio.create_task(ask(stream)) for stream in streams]
        await until(lambda: sum(len(front._connections.connections) for front in made.fronts if front._connections) > 1)
        await made.reached.wait()
        stopping = asyncio.create_task(made.fronts[0].stop(0.1, 10))
        await until(lambda: not Path(made.path("a")).exists())
        made.gate.set()
        assert sorted([await one for one in asking]) == ["a", "b"]
        await stopping
        assert [await ask(await made.dial()) for _ in range(3)] == ["b"] * 3

    run(tmp_path, scenario)


def test_a_server_without_the_socket_is_relayed_to(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        for front in made.fronts:
            assert front._handed is not None
            front._handed.stop()
        stream = await made.dial()
        assert await ask(stream) in "ab"
        assert (made.open(), made.relayed()) == (1, 1)
        stream[1].close()

    run(tmp_path, scenario)


def test_sockets_of_another_user_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(made: Rig) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "getuid", lambda: 12345)
            stream = await made.dial()
            assert await ask(stream) in "ab"
            await until(lambda: made.relayed() == 1 or made.open() == 0)
        stream[1].close()
        assert made.relayed() == 1, "a stranger's socket was served"

    run(tmp_path, scenario)


class Stuck:
    """The other end of a handover that takes connections or doesn't, and never reads from one."""

    def __init__(self, path: str) -> None:
        Path(path).unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()
        self.listener.setblocking(False)
        self.channel: socket.socket | None = None

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        self.channel, _ = await loop.sock_accept(self.listener)
        self.channel.setblocking(False)
        return await loop.sock_recv(self.channel, NUMBER.size)

    def take(self, number: bytes) -> None:
        assert self.channel is not None
        self.channel.send(TAKEN + number)

    def die(self) -> None:
        assert self.channel is not None
        self.listener.close()
        self.channel.close()


@asynccontextmanager
async def stuck(made: Rig) -> AsyncIterator[tuple[Stuck, asyncio.Task[Stream], bytes]]:
    """Have server `a` be stuck and a client's connection on its way to it."""
    handed = made.fronts[0]._handed
    assert handed is not None
    handed._listener, listener = None, handed._listener  # it listens no more, but its path stays
    assert listener is not None
    asyncio.get_running_loop().remove_reader(listener)
    listener.close()
    one = Stuck(made.path("a"))
    await made.until(Health.READY, Health.READY)
    receiving = asyncio.create_task(one.receive())
    dialing = asyncio.create_task(made.dial())
    others = []
    try:
        while True:
            done, _ = await asyncio.wait((receiving, dialing), return_when=asyncio.FIRST_COMPLETED)
            if receiving in done:
                break
            others.append(dialing.result())  # it was b's turn
            dialing = asyncio.create_task(made.dial())
        yield one, dialing, receiving.result()
    finally:
        for _, writer in others:
            writer.close()
        dialing.cancel()
        await asyncio.gather(dialing, return_exceptions=True)
        one.die()


def test_what_a_server_had_not_taken_when_it_died_is_given_to_another(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        async with stuck(made) as (one, dialing, _):
            one.die()
            await made.fronts[0].stop(0, 0)
            stream = await dialing
            assert await ask(stream) == "b"
            stream[1].close()

    run(tmp_path, scenario)


def test_what_a_server_had_taken_when_it_died_ends(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        async with stuck(made) as (one, dialing, number):
            one.take(number)
            one.die()
            with pytest.raises((OSError, EOFError)):
                await dialing

    run(tmp_path, scenario)


def test_a_server_that_is_dead_to_us_loses_what_it_holds(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        async with stuck(made) as (one, dialing, number):
            one.take(number)
            made.balancer.backends[0].set_health(Health.DEAD, "no answer in time")
            made.balancer._changed(made.balancer.backends[0])
            with pytest.raises((OSError, EOFError)):
                await dialing
            assert made.balancer.backends[0].connections == 0

    run(tmp_path, scenario)
