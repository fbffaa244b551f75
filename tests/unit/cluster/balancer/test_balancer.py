"""The balancer over real sockets: two TLS servers that can be killed, stopped or made not ready."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from oarlock.cluster.balancer.pool import Health
from oarlock.cluster.balancer.server import Balancer
from oarlock.cluster.balancer.settings import BalancerSettings, Tls
from oarlock.cluster.boot.pki import Authority


class FakeServer:
    """Answers /readyz with `status` and echoes `NAME:` + each line on any other path."""

    def __init__(self, name: str, context: ssl.SSLContext) -> None:
        self.name = name
        self.status = 200
        self.body = b"ok"
        self.is_silent = False
        self.closes = False
        self.answers_after_s = 0.0
        self.checks = 0
        self.port = 0
        self._context = context
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                if line.startswith(b"GET /readyz"):
                    await reader.readuntil(b"\r\n\r\n")
                    if self.is_silent:
                        continue
                    self.checks += 1
                    await asyncio.sleep(self.answers_after_s)
                    ending = "Connection: close\r\n" if self.closes else ""
                    head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n{ending}\r\n"
                    writer.write(head.encode() + self.body)
                    if self.closes:
                        return
                else:
                    writer.write(self.name.encode() + b":" + line)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


class Rig:
    def __init__(self, folder: Path) -> None:
        files = Authority(folder).issue("server", "server", hosts=["127.0.0.1", "localhost"])
        self.tls = Tls(files.ca)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(files.cert, files.key)
        self.client_context = ssl.create_default_context(cafile=files.ca)
        self.servers = [FakeServer("a", server), FakeServer("b", server)]
        self.balancer: Balancer

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.balancer.port, ssl=self.client_context)

    async def until(self, *healths: Health) -> None:
        while [backend.health for backend in self.balancer.backends] != list(healths):
            await self.balancer._news.wait()


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], line: bytes = b"hello\n") -> bytes:
    reader, writer = connection
    writer.write(line)
    return await reader.readline()


async def ended(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    """Tell whether the other side has ended a connection, in order or not."""
    try:
        return await connection[0].read(1) == b""
    except ConnectionError:
        return True


@asynccontextmanager
async def rig(folder: Path, **settings: Any) -> AsyncIterator[Rig]:
    made = Rig(folder)
    for server in made.servers:
        await server.start()
    backends = tuple(("127.0.0.1", server.port) for server in made.servers)
    quick = {"check_interval_s": 0.05, "retry_interval_s": 0.02, "drain_s": 0.1, **settings}
    made.balancer = Balancer(BalancerSettings("127.0.0.1", 0, backends, made.tls, **quick))
    await made.balancer.start()
    try:
        await made.until(Health.READY, Health.READY)
        yield made
    finally:
        await made.balancer.stop()
        for server in made.servers:
            await server.kill()


def run(folder: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def inside() -> None:
        async with asyncio.timeout(20), rig(folder, **settings) as made:
            await scenario(made)

    asyncio.run(inside())
    uvloop.run(inside())


def test_connections_are_shared_evenly(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial() for _ in range(6)]
        answers = [await ask(connection) for connection in connections]
        assert sorted(answers) == [b"a:hello\n"] * 3 + [b"b:hello\n"] * 3
        for _, writer in connections:
            writer.close()

    run(tmp_path, scenario)


def test_death_of_a_backend_cuts_its_connections_and_spares_the_others(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        await made.servers[0].kill()
        cut = connections[names.index(b"a")]
        kept = connections[names.index(b"b")]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await cut[0].readexactly(1)
        assert await ask(kept) == b"b:hello\n"
        assert await ask(await made.dial()) == b"b:hello\n"

    run(tmp_path, scenario)


def test_a_backend_that_is_not_ready_loses_its_connections_until_it_is(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        made.servers[1].status = 500
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await connections[names.index(b"b")][0].readexactly(1)
        assert [await ask(await made.dial()) for _ in range(3)] == [b"a:hello\n"] * 3
        made.servers[1].status = 200
        await made.until(Health.READY, Health.READY)
        assert await ask(await made.dial()) == b"b:hello\n"

    run(tmp_path, scenario)


def test_a_backend_that_shuts_down_keeps_what_it_has_and_gets_nothing_new(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        made.servers[0].status, made.servers[0].body = 500, b"[+]ping ok\n[-]shutdown failed: reason withheld\n"
        while made.balancer.backends[0].health is not Health.DRAINING:
            await made.balancer._news.wait()
        assert await ask(connections[names.index(b"a")]) == b"a:hello\n"
        assert [await ask(await made.dial()) for _ in range(3)] == [b"b:hello\n"] * 3

    run(tmp_path, scenario)


def test_a_silent_backend_gets_nothing_new_and_keeps_what_it_has_for_a_while(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        mine = connections[names.index(b"a")]
        made.servers[0].is_silent = True
        await made.until(Health.SLOW, Health.READY)
        assert [await ask(await made.dial()) for _ in range(3)] == [b"b:hello\n"] * 3
        assert await ask(mine) == b"a:hello\n"
        made.servers[0].is_silent = False
        await made.until(Health.READY, Health.READY)
        assert await ask(mine) == b"a:hello\n"

    run(tmp_path, scenario, check_timeout_s=0.5, silence_s=3.0)


def test_a_backend_whose_answers_are_always_late_is_slow_and_keeps_what_it_has(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        mine, server = connections[names.index(b"a")], made.servers[0]
        server.answers_after_s, before = 0.3, server.checks
        while server.checks < before + 8:
            assert made.balancer.backends[0].health is not Health.DEAD
            await made.balancer._news.wait()
        assert await ask(mine) == b"a:hello\n"

    run(tmp_path, scenario, check_timeout_s=0.1, silence_s=1.5)


def test_a_backend_that_is_late_with_its_first_answer_is_not_yet_dead(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        for server in made.servers:
            server.is_silent = True
        late = Balancer(made.balancer._settings)
        await late.start()
        while {backend.health for backend in late.backends} != {Health.SLOW}:
            assert Health.DEAD not in {backend.health for backend in late.backends}
            await late._news.wait()
        await late.stop()

    run(tmp_path, scenario, check_timeout_s=0.1, silence_s=20.0)


def test_a_backend_that_stays_silent_is_dead(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        connections = [await made.dial(), await made.dial()]
        names = [(await ask(connection))[:1] for connection in connections]
        made.servers[0].is_silent = True
        await made.until(Health.DEAD, Health.READY)
        assert await ended(connections[names.index(b"a")])
        assert await ask(connections[names.index(b"b")]) == b"b:hello\n"

    run(tmp_path, scenario, check_timeout_s=0.05, silence_s=0.3)


def test_a_silent_backend_keeps_its_connections_until_there_is_another(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        mine, other = [await made.dial(), await made.dial()]
        if (await ask(mine)).startswith(b"b"):
            mine = other
        await made.servers[1].kill()
        await made.until(Health.READY, Health.DEAD)
        made.servers[0].is_silent = True
        await made.until(Health.DEAD, Health.DEAD)
        assert await ask(mine) == b"a:hello\n", "it may be that only the checks are late"
        await made.servers[1].start()
        assert await ended(mine)

    run(tmp_path, scenario, check_timeout_s=0.05, silence_s=0.2)


def test_a_new_connection_waits_for_a_backend_that_restarts(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        for server in made.servers:
            await server.kill()
        await made.until(Health.DEAD, Health.DEAD)
        waiting = asyncio.create_task(made.dial())
        while not made.balancer._held:  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        await made.servers[1].start()
        assert await ask(await waiting) == b"b:hello\n"

    run(tmp_path, scenario)


def test_a_connection_that_nobody_takes_is_closed_after_the_hold(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        for server in made.servers:
            await server.kill()
        with pytest.raises((OSError, EOFError)):
            await made.dial()

    run(tmp_path, scenario, hold_s=0.05)


def test_bytes_pass_whole_in_both_directions_through_slow_readers(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        reader, writer = await made.dial()
        lines = [b"x" * 60_000 + b"%d\n" % number for number in range(60)]

        async def send() -> None:
            for line in lines:
                writer.write(line)
                await writer.drain()

        sending = asyncio.create_task(send())
        received = [await reader.readuntil(b"\n") for _ in lines]
        await sending
        assert [line[2:] for line in received] == lines

    run(tmp_path, scenario)


def test_stop_ends_open_connections_and_frees_the_port(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        reader, _ = connection = await made.dial()
        await ask(connection)
        port = made.balancer.port
        await made.balancer.stop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await made.balancer.wait()

    run(tmp_path, scenario)


def test_a_successor_on_the_same_listener_takes_what_comes_while_the_old_one_carries_what_it_has(
    tmp_path: Path,
) -> None:
    async def scenario(made: Rig) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        settings = replace(made.balancer._settings, drain_s=20.0, quiet_s=0.3)
        old, new = (Balancer(settings, listeners=[listener.dup()]) for _ in range(2))
        await old.start()
        await old.wait_ready()
        address = listener.getsockname()
        waiting, quiet = [await asyncio.open_connection(*address, ssl=made.client_context) for _ in range(2)]
        assert await ask(quiet)
        waiting[1].write(b"slow ")  # half a line: the server has not answered yet
        await new.start()
        await new.wait_ready()
        stopping = asyncio.create_task(old.stop())
        fresh = [await asyncio.open_connection(*address, ssl=made.client_context) for _ in range(8)]
        assert all([await ask(connection) for connection in fresh])
        assert await quiet[0].read(1) == b"", "nobody waits for anything there"
        assert not stopping.done()
        assert (await ask(waiting, b"answer\n")).endswith(b":slow answer\n")
        waiting[1].close()
        await stopping
        assert await ask(fresh[0])
        assert sum(backend.connections for backend in new.backends) == 8
        for _, writer in fresh:
            writer.close()
        await new.stop()
        listener.close()

    run(tmp_path, scenario)


def test_a_connection_at_its_beginning_is_served_by_a_balancer_that_stops(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        for server in made.servers:
            await server.kill()
        await made.until(Health.DEAD, Health.DEAD)
        waiting = asyncio.create_task(made.dial())
        while not made.balancer._held:  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        stopping = asyncio.create_task(made.balancer.stop())
        await made.servers[1].start()
        assert await ask(await waiting) == b"b:hello\n"
        await stopping

    run(tmp_path, scenario, drain_s=20.0, quiet_s=0.2)


def test_a_server_that_closes_after_each_answer_is_asked_no_more_often(tmp_path: Path) -> None:
    async def scenario(made: Rig) -> None:
        server = made.servers[0]
        server.closes = True
        server.body, server.status = b"[-]shutdown failed", 500
        await made.until(Health.DRAINING, Health.READY)
        before, began = server.checks, asyncio.get_running_loop().time()
        while server.checks < before + 5:  # noqa: ASYNC110 - the other end's state
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() - began >= 4 * made.balancer._settings.retry_interval_s

    run(tmp_path, scenario)


def test_a_client_that_has_said_its_last_holds_nobody_up(tmp_path: Path) -> None:
    async def never_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()
        writer.close()

    async def scenario(made: Rig) -> None:
        backend = await asyncio.start_server(never_closes, "127.0.0.1", 0)
        address = backend.sockets[0].getsockname()
        balancer = Balancer(replace(made.balancer._settings, backends=(address,), drain_s=60.0))
        await balancer.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
        writer.write(b"bye")
        writer.write_eof()
        while not any(client.half_closed for client in balancer._clients):  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        await balancer.stop()
        assert await reader.read(1) == b""
        writer.close()
        backend.close()

    run(tmp_path, scenario, quiet_s=0.1)


def test_settings_refuse_nonsense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one backend"):
        BalancerSettings("127.0.0.1", 0, (), Tls(tmp_path))
    with pytest.raises(ValueError, match="above 0"):
        BalancerSettings("127.0.0.1", 0, (("h", 1),), Tls(tmp_path), check_interval_s=0)
